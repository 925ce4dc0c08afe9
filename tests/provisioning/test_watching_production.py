"""What Prometheus, blackbox_exporter and mtail are told to watch of a production stack."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alert_rules.catalogue import named
from provisioning.config.model import Config
from provisioning.config.production import Acme, Certificate, Production
from provisioning.config.targets import Targets
from provisioning.render import prometheus
from provisioning.render.places import Places
from provisioning.render.production_places import in_containers
from provisioning.render.prometheus_production import BLACKBOX, MTAIL, files
from tests.tools import tool

ACME = Certificate(acme=Acme(email="ops@example.org"))


def production(**more: Any) -> tuple[Config, Places]:
    stack = Production(domain="monitoring.example.org", **more)
    return in_containers(Config(targets=Targets(), production=stack), Path("/srv/cluster-ai"))


def jobs(**more: Any) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in prometheus.settings(*production(**more))["scrape_configs"]}


def targets(job: dict[str, Any]) -> list[str]:
    found: list[str] = job["static_configs"][0]["targets"]
    return found


def modules(**more: Any) -> dict[str, Any]:
    config, places = production(**more)
    data = yaml.safe_load(files(config, places, Path("/out"), "cluster-ai.yml")[BLACKBOX])
    found: dict[str, Any] = data["modules"]
    return {name: module["http"] for name, module in found.items()}


def test_a_laptop_has_none_of_it():
    places = Places(data=Path("/d"), secrets=Path("/s"))
    names = [job["job_name"] for job in prometheus.settings(Config(targets=Targets()), places)["scrape_configs"]]
    assert names == ["exporter", "probe", "native", "node", "prometheus", "alertmanager", "grafana"]


def test_each_part_is_scraped_where_its_container_is():
    found = jobs()
    assert targets(found["postgres"]) == ["postgres-exporter:9187"]
    assert targets(found["redis"]) == ["redis-exporter:9121"]
    assert targets(found["nginx"]) == ["nginx-exporter:9113"]
    assert targets(found["nginx_log"]) == ["nginx-log-exporter:3903"]
    assert not {"loki", "alloy"} & set(found)


def test_every_grafana_is_scraped_and_not_the_address_it_listens_on():
    assert targets(jobs(grafanas=3)["grafana"]) == ["grafana-1:3000", "grafana-2:3000", "grafana-3:3000"]


def test_with_logs_what_keeps_them_is_scraped():
    found = jobs(logs=True)
    assert targets(found["loki"]) + targets(found["alloy"]) == ["loki:3100", "alloy:12345"]


def test_the_door_is_asked_inside_and_by_its_public_name():
    found = jobs(https="0.0.0.0:8443")
    assert targets(found["door"]) == ["https://nginx:8443/api/health"]
    assert targets(found["door_outside"]) == ["https://monitoring.example.org:8443/api/health"]
    for name in ("door", "door_outside"):
        assert found[name]["params"] == {"module": [name]}
        assert {"target_label": "__address__", "replacement": "blackbox:9115"} in found[name]["relabel_configs"]


def test_inside_nginx_is_called_by_its_public_name():
    """It answers no other, and would close the connection."""
    asked = modules()["door"]
    assert asked["headers"] == {"Host": "monitoring.example.org"}
    assert asked["tls_config"]["server_name"] == "monitoring.example.org"


def test_an_error_because_grafana_is_away_is_an_answer_of_nginx():
    for asked in modules().values():
        assert {502, 503, 504} < set(asked["valid_status_codes"])
        assert 500 not in asked["valid_status_codes"]


@pytest.mark.parametrize(
    ("certificate", "checked"),
    [
        (ACME, True),
        (Certificate(), False),
        (Certificate(acme=Acme(email="ops@example.org", directory="https://ca.example.org/acme")), False),
    ],
    ids=["public", "private", "other-authority"],
)
def test_outside_a_certificate_of_a_public_authority_must_be_good(certificate: Certificate, checked: bool):
    assert modules(certificate=certificate)["door_outside"]["tls_config"] == (
        {} if checked else {"insecure_skip_verify": True}
    )


def test_every_job_that_an_alert_names_is_there():
    asked = re.search(r'job=~"([^"]+)"', named("MonitoringWatcherDown").expr)
    assert asked
    assert set(asked[1].split("|")) <= set(jobs(logs=True))


def test_what_mtail_counts_is_what_the_rules_read():
    program = files(*production(), Path("/out"), "cluster-ai.yml")[MTAIL]
    assert "counter cluster_ai_door_responses_total by code\n" in program
    assert "cluster_ai_door_responses_total{" in named("MonitoringDoorErrors").expr


@pytest.mark.parametrize("more", [{}, {"logs": True, "grafanas": 2}], ids=["smallest", "all"])
def test_prometheus_takes_it(more: dict[str, Any], tmp_path: Path):
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(prometheus.settings(*production(**more))))
    done = subprocess.run([tool("promtool"), "check", "config", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
