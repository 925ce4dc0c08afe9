"""prometheus.yml: what is scraped, how often, and how much of it one scrape may bring.

Valid for Prometheus 2.42. Jobs: `exporter` (itself), `probe` (targets through the exporter), `native` (Dask's own
/metrics, followed as workers come and go), `filtered` (those that pass through the exporter), `node`,
`gpu`, `ollama_proxy`, `prometheus`, `alertmanager`, `sms_bridge`, `grafana`; and those of a production stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from provisioning.config.addresses import dial_address
from provisioning.config.audience import needs_bridge
from provisioning.config.hosts import is_this_machine, this_machine
from provisioning.config.model import Config
from provisioning.config.targets import SYSTEMS, HostTarget
from provisioning.render.places import Places
from provisioning.render.prometheus_production import gpu_here, jobs

Job = dict[str, Any]

# A scrape that brings more than this is refused whole, so that one broken target cannot fill the disk. The exporter
# caps each target itself (series_limit); its own few series come on top.
_PROBE_EXTRA = 1_000
_NATIVE_SAMPLES = 50_000
_LIMITS = {"label_limit": 64, "label_name_length_limit": 256, "label_value_length_limit": 2048}


def settings(config: Config, places: Places) -> dict[str, Any]:
    """The file as data."""
    services = config.services
    exporters = services.exporter_shards or [services.exporter]
    parts = {
        "prometheus": True,
        "alertmanager": places.alertmanager,
        "sms_bridge": needs_bridge(config),
        "grafana": places.grafana and places.production is None,
    }
    alertmanager = [{"static_configs": [{"targets": [dial_address(services.alertmanager)]}]}]
    return {
        "global": {
            "scrape_interval": "15s",
            "scrape_timeout": "10s",
            "evaluation_interval": "15s",
            # Put on what leaves this Prometheus (alerts, remote write, federation): which installation it was.
            "external_labels": {"cluster": config.name},
        },
        "rule_files": ["rules/*.yml"],
        **({"alerting": {"alertmanagers": alertmanager}} if places.alertmanager else {}),
        "scrape_configs": [
            _exporter(config, exporters),
            _probe(config, exporters),
            _native(config, exporters),
            *_filtered(config, exporters),
            *_hosts(config, places),
            *_proxy(config),
            *(_static(name, getattr(services, name)) for name, there in parts.items() if there),
            *jobs(config, places),
        ],
    }


def _static(name: str, *listen: str) -> Job:
    return {"job_name": name, "static_configs": [{"targets": [dial_address(address) for address in listen]}]}


def _proxy(config: Config) -> list[Job]:
    """What the proxies before Ollama have seen; their series name the target themselves."""
    if not any(target.proxy for target in config.targets.ollama):
        return []
    processes = (config.services.ollama_proxy, *config.services.ollama_proxy_workers)
    group = {"targets": list(map(dial_address, processes)), "labels": {"system": "ollama"}}
    return [{"job_name": "ollama_proxy", **_LIMITS, "static_configs": [group]}]


def _access(config: Config) -> Job:
    """How to get in to the exporter; goes to the exporter's own address and nowhere else."""
    exporter = config.exporter
    tls = {
        "ca_file": exporter.ca_file,
        "cert_file": exporter.cert_file,
        "key_file": exporter.key_file,
        "server_name": exporter.server_name,
    }
    login = {"username": exporter.username, "password_file": str(exporter.password_file)}
    return {
        **({"tls_config": {key: str(value) for key, value in tls.items() if value}} if exporter.ca_file else {}),
        **({"basic_auth": login} if exporter.username else {}),
    }


def _guarded(config: Config) -> Job:
    """A job that scrapes the exporter."""
    scheme = config.exporter.scheme
    return {**({"scheme": scheme} if scheme != "http" else {}), **_access(config)}


def _exporter(config: Config, exporters: Sequence[str]) -> Job:
    return _static("exporter", *exporters) | {"params": {"collect[]": ["self"]}, **_guarded(config)}


def _discovery(config: Config, exporters: Sequence[str], kind: str) -> list[Job]:
    """Each exporter lists what it watches itself, so several that share the targets are all asked."""
    scheme = config.exporter.scheme
    return [
        {
            "url": f"{scheme}://{dial_address(exporter)}/sd?kind={kind}",
            "refresh_interval": "5s",
            **_access(config),
        }
        for exporter in exporters
    ]


def _probe(config: Config, exporters: Sequence[str]) -> Job:
    limits = [target.series_limit for system in SYSTEMS for target in getattr(config.targets, system)]
    return {
        "job_name": "probe",
        "honor_labels": True,
        # The exporter gives up half a second before Prometheus would, and says what was slow.
        "scrape_interval": "5s",
        "scrape_timeout": "4500ms",
        "metrics_path": "/probe",
        **_guarded(config),
        "sample_limit": max(limits, default=0) + _PROBE_EXTRA,
        **_LIMITS,
        "body_size_limit": "64MB",
        "http_sd_configs": _discovery(config, exporters, "probe"),
    }


_NATIVE: Job = {
    "scrape_interval": "15s",
    "scrape_timeout": "10s",
    "follow_redirects": False,
    "sample_limit": _NATIVE_SAMPLES,
    **_LIMITS,
    "body_size_limit": "64MB",
}


def _native(config: Config, exporters: Sequence[str]) -> Job:
    """Addresses here come from the clusters themselves, so this job must never carry credentials.

    Nor may they send Prometheus on, to any page of any server that only it can reach.
    """
    return {"job_name": "native", **_NATIVE, "http_sd_configs": _discovery(config, exporters, "native")}


def _filtered(config: Config, exporters: Sequence[str]) -> list[Job]:
    """Schedulers with `native: filtered` are read at the exporter, which may ask for a password.

    Their series are native ones all the same, and say so.
    """
    if all(target.native == "direct" for target in config.targets.dask):
        return []
    return [
        {
            "job_name": "filtered",
            **_NATIVE,
            **_guarded(config),
            "http_sd_configs": _discovery(config, exporters, "filtered"),
            "relabel_configs": [{"target_label": "job", "replacement": "native"}],
        }
    ]


def _hosts(config: Config, places: Places) -> list[Job]:
    """node_exporter and GPU exporters; this machine is there by itself unless the file lists it."""
    hosts = config.targets.hosts
    node = [_host_group(host, host.node_exporter) for host in hosts if host.node_exporter]
    listed = any(host.node_exporter and is_this_machine(host, config, places.local_host) for host in hosts)
    if places.node_exporter and not listed:
        own = this_machine(config, places.local_host)
        node.insert(0, {"targets": [dial_address(config.services.node_exporter)], "labels": {"host": own}})
    gpu = [*gpu_here(config, places)]
    gpu += [_host_group(host, host.gpu_exporter) for host in hosts if host.gpu_exporter]
    return [{"job_name": name, "static_configs": groups} for name, groups in (("node", node), ("gpu", gpu)) if groups]


def _host_group(host: HostTarget, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    labels = {"host": host.name}
    if parts.scheme != "http":
        labels["__scheme__"] = parts.scheme
    if parts.path:
        labels["__metrics_path__"] = f"{parts.path}/metrics"
    return {"targets": [f"{name}:{parts.port or (443 if parts.scheme == 'https' else 80)}"], "labels": labels}
