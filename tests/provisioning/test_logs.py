"""What keeps logs, and how they get there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.config.model import Config
from provisioning.config.production import Production
from provisioning.config.targets import Targets
from provisioning.render import grafana, logs, prometheus
from provisioning.render.places import Places
from provisioning.render.production_places import in_containers

FOLDER = Path("/srv/cluster-ai")


def production(**more: Any) -> tuple[Config, Places]:
    stack = Production(domain="monitoring.example.org", **more)
    return in_containers(Config(targets=Targets(), production=stack), FOLDER)


def rendered(**more: Any) -> dict[str, str]:
    return logs.files(*production(**more), FOLDER / "rendered", "cluster-ai.yml")


def loki(**more: Any) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(rendered(**more)[logs.LOKI])
    return data


def sources(config: Config, places: Places) -> list[str]:
    return [source["type"] for source in grafana.datasources(config, places)["datasources"]]


def test_without_logs_there_is_nothing():
    assert rendered() == {}
    assert sources(*production()) == ["prometheus", "alertmanager"]
    assert sources(Config(targets=Targets()), Places(data=FOLDER, secrets=FOLDER)) == ["prometheus", "alertmanager"]


def test_with_logs_grafana_reads_them_where_they_are():
    config, places = production(logs=True)
    assert sources(config, places) == ["prometheus", "alertmanager", "loki"]
    assert logs.datasources(config, places)[0]["url"] == "http://loki:3100"


def test_lines_are_kept_for_seven_days_and_then_really_deleted():
    kept = loki(logs=True)
    assert kept["limits_config"]["retention_period"] == "168h"
    assert kept["compactor"]["retention_enabled"] is True
    assert kept["limits_config"]["reject_old_samples_max_age"] == "168h"


def test_nothing_of_it_calls_home_and_all_of_it_lies_in_one_folder():
    kept = loki(logs=True)
    assert kept["analytics"] == {"reporting_enabled": False}
    written = [kept["common"]["path_prefix"], kept["compactor"]["working_directory"]]
    written += kept["common"]["storage"]["filesystem"].values()
    assert all(path == "/loki" or path.startswith("/loki/") for path in written)


def test_lines_come_through_a_socket_of_the_installation_and_never_dockers_own():
    alloy = rendered(logs=True)[logs.ALLOY]
    assert f'endpoint = "unix://{FOLDER}/data/alloy/containers.sock"' in alloy
    assert "docker.sock" not in alloy
    assert "/var/lib/docker" not in alloy


def test_lines_have_two_labels_and_no_more():
    """Loki keeps a file for each combination; who wrote a line of a million paths would have a million files."""
    alloy = rendered(logs=True, rum=True)[logs.ALLOY]
    assert re.findall(r"stage.label_keep {\s+values = (\S.*)", alloy) == ['["service", "stream"]']
    assert re.findall(r"forward_to = \[(.*)\]", alloy) == ["loki.process.few.receiver", "loki.write.store.receiver"]
    assert alloy.count("logs = [loki.process.few.receiver]") == 1


def test_browsers_report_only_where_it_is_asked_for_and_from_our_own_pages():
    assert "faro.receiver" not in rendered(logs=True)[logs.ALLOY]
    alloy = rendered(logs=True, rum=True)[logs.ALLOY]
    assert re.findall(r"cors_allowed_origins +=(.*)", alloy) == [' ["https://monitoring.example.org"]']
    assert "listen_port              = 12347\n" in alloy
    assert 'max_allowed_payload_size = "32KiB"\n' in alloy


def test_one_that_writes_without_end_does_not_fill_the_disk():
    assert loki(logs=True)["limits_config"]["per_stream_rate_limit"] == "1MB"


@pytest.mark.parametrize("rum", [False, True])
def test_alloys_blocks_and_texts_are_closed(rum: bool):
    alloy = rendered(logs=True, rum=rum)[logs.ALLOY]
    bare = re.sub(r'"[^"\n]*"', "", re.sub(r"^ *//.*$", "", alloy, flags=re.MULTILINE))
    assert '"' not in bare
    depth = 0
    for sign in re.findall(r"[{}]", bare):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    named = set(re.findall(r'^(\S+) "(\w+)" {$', alloy, re.MULTILINE))
    used = set(re.findall(r"(\w+(?:\.\w+)+)\.(\w+)\.(?:input|receiver)\b", alloy))
    assert used <= named


def test_a_gpu_beside_us_is_scraped_as_this_machines():
    config, places = production(gpu=True)
    [gpu] = [job for job in prometheus.settings(config, places)["scrape_configs"] if job["job_name"] == "gpu"]
    assert gpu["static_configs"] == [{"targets": ["gpu-exporter:9835"], "labels": {"host": places.local_host}}]
    assert "gpu" not in {job["job_name"] for job in prometheus.settings(*production())["scrape_configs"]}
