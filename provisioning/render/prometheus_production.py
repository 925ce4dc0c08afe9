"""What Prometheus scrapes of a production stack alone, and what asks and counts for it at the door.

Jobs: `grafana` (all of them), `postgres`, `redis`, `nginx`, `nginx_log` (what nginx answered, counted by mtail), `door`
(nginx asked like a browser, on its own network), `door_outside` (by its public name), and with logs `loki` and `alloy`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioning.config.addresses import dial_address
from provisioning.config.hosts import this_machine
from provisioning.config.model import Config
from provisioning.config.production import LETS_ENCRYPT, Production
from provisioning.render.files import header, yaml_text
from provisioning.render.places import Places
from provisioning.render.production_places import ProductionPlaces

Job = dict[str, Any]
BLACKBOX = "blackbox.yml"
MTAIL = "mtail/door.mtail"
_ASKED = "/api/health"
"""Answered without signing in, by a Grafana; 503 when its database is away.

nginx itself says 502, 503 or 504 where no Grafana answers: it is there, and other alerts tell of what is not.
"""
_ANSWERS = [200, 502, 503, 504]

# nginx writes what it answered, and nothing else, into a log of its own for this.
_COUNTING = """\
counter cluster_ai_door_responses_total by code

/"status":"?(?P<code>\\d\\d\\d)/ {
  cluster_ai_door_responses_total[$code]++
}
"""


def jobs(config: Config, places: Places) -> list[Job]:
    """The jobs; none on a laptop."""
    there = places.production
    if config.production is None or there is None:
        return []
    return [
        _job("grafana", *there.grafanas),
        _job("postgres", there.postgres_exporter),
        _job("redis", there.redis_exporter),
        _job("nginx", there.nginx_exporter),
        _job("nginx_log", there.nginx_log_exporter),
        _asked("door", f"https://{_inside(there)}{_ASKED}", there),
        _asked("door_outside", f"{config.grafana_url}{_ASKED}", there),
        *([_job("loki", there.loki), _job("alloy", there.alloy)] if config.production.logs else ()),
    ]


def gpu_here(config: Config, places: Places) -> list[dict[str, Any]]:
    """This machine's GPU exporter among those of job `gpu`, where it runs beside us."""
    there = places.production
    if config.production is None or there is None or not config.production.gpu:
        return []
    host = this_machine(config, places.local_host)
    return [{"targets": [dial_address(there.gpu_exporter)], "labels": {"host": host}}]


def files(config: Config, places: Places, out: Path, source: str) -> dict[str, str]:  # noqa: ARG001 -- as every part
    """How blackbox_exporter asks, and what mtail counts."""
    assert config.production is not None  # noqa: S101 -- a part of production
    return {
        BLACKBOX: yaml_text({"modules": _modules(config.production)}, source),
        MTAIL: header(source) + _COUNTING,
    }


def _job(name: str, *addresses: str) -> Job:
    return {"job_name": name, "static_configs": [{"targets": [dial_address(address) for address in addresses]}]}


def _asked(module: str, url: str, there: ProductionPlaces) -> Job:
    """A job whose target blackbox_exporter asks; its `instance` is what was asked."""
    return {
        "job_name": module,
        "metrics_path": "/probe",
        "params": {"module": [module]},
        "static_configs": [{"targets": [url]}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__address__"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": dial_address(there.blackbox)},
        ],
    }


def _inside(there: ProductionPlaces) -> str:
    """Where nginx is dialled: by the name of its container, unless it listens on an address of its own."""
    return there.nginx_https if ":" in there.nginx_https else f"nginx:{there.nginx_https}"


def _modules(production: Production) -> dict[str, Any]:
    """Inside, the certificate's time is what matters and not whose it is, and nginx must be called by its public name.

    Outside it is checked like a browser does where a public authority gave it; another one is not known here.
    """
    acme = production.certificate.acme
    public = acme is not None and acme.directory == LETS_ENCRYPT
    inside = {"insecure_skip_verify": True, "server_name": production.domain}
    return {
        "door": _module(inside, headers={"Host": production.domain}),
        "door_outside": _module({} if public else {"insecure_skip_verify": True}),
    }


def _module(tls: dict[str, Any], **more: Any) -> dict[str, Any]:
    http = {
        "method": "GET",
        "preferred_ip_protocol": "ip4",  # IPv6 where there is no other
        "valid_status_codes": _ANSWERS,
        "fail_if_not_ssl": True,
        "follow_redirects": False,
        "tls_config": tls,
        **more,
    }
    return {"prober": "http", "timeout": "5s", "http": http}
