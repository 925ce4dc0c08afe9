"""Debian's exporters before real parts: what the alert rules read is really told, and says when the part is gone."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml

from alert_rules.render import rules
from provisioning.config.model import Config
from provisioning.config.targets import Targets
from provisioning.render import prometheus, prometheus_production
from provisioning.render.places import Places
from tests.compose.running import until
from tests.ports import free_port
from tests.provisioning.secrets.installed import installed
from tests.rules.promtool import metrics
from tests.standins import exporters, grafana_standin, nginx_server, postgres_server, redis_server
from tests.standins.exporters import Exporter
from tests.standins.nginx_server import Door
from tests.tools import tool

pytestmark = pytest.mark.real
READ = set().union(*(metrics(text) for text in rules(Config(targets=Targets())).values()))


def told(exporter: Exporter) -> set[str]:
    return set(re.findall(r"^([a-z]\w+)", exporter.page(), re.MULTILINE))


def test_postgresql_tells_what_the_rules_read_and_that_it_is_gone():
    with postgres_server.running() as server:
        port = free_port()
        environment = {
            "DATA_SOURCE_URI": f"{server.there.parts.postgres}/postgres?sslmode=disable",
            "DATA_SOURCE_USER": "monitoring",
            "DATA_SOURCE_PASS_FILE": str(server.there.secrets / "postgres-exporter-password"),
        }
        listen = f"--web.listen-address=127.0.0.1:{port}"
        with exporters.running("prometheus-postgres-exporter", port, listen, environment=environment) as exporter:
            assert {name for name in READ if name.startswith("pg_")} <= told(exporter)
            assert exporter.value("pg_up") == 1
            assert exporter.value('pg_stat_activity_count{datname="postgres"') is not None
            server.stop()
            assert exporter.value("pg_up") == 0
            server.start()
            until(lambda: exporter.value("pg_up") == 1, "PostgreSQL to be seen again")


def test_redis_tells_what_the_rules_read_and_that_it_is_gone(tmp_path: Path):
    there = installed(tmp_path, redis=f"127.0.0.1:{free_port()}")
    (tmp_path / "data").mkdir()
    with redis_server.rendered(there, tmp_path / "data") as server:
        port = free_port()
        flags = (
            f"-redis.addr=redis://{there.parts.redis}",
            "-redis.user=monitoring",
            f"-redis.password-file={there.secrets / 'redis-exporter-passwords'}",
            f"-web.listen-address=127.0.0.1:{port}",
        )
        with exporters.running("prometheus-redis-exporter", port, *flags) as exporter:
            assert exporter.value("redis_up") == 1
            assert {name for name in READ if name.startswith("redis_")} <= told(exporter)
            assert (exporter.value("redis_memory_max_bytes") or 0) > 0, "a Redis without a limit is never full"
            server.stop()
            assert exporter.value("redis_up") == 0


@contextmanager
def watched(door: Door) -> Iterator[tuple[Exporter, Exporter, Exporter]]:
    """The door with its exporter, what counts its answers, and what asks it."""
    made = prometheus_production.files(door.config, places(door), door.folder, "cluster-ai.yml")
    for name, text in made.items():
        (door.folder / name).parent.mkdir(exist_ok=True)
        (door.folder / name).write_text(text)
    numbers, answers, asking = free_port(), free_port(), free_port()
    counted = ("--progs", door.folder / prometheus_production.MTAIL, "--logs", door.folder / "responses.json")
    listen = ("--address", "127.0.0.1", "--port", str(answers), "--logtostderr")
    blackbox = (
        f"--config.file={door.folder / prometheus_production.BLACKBOX}",
        f"--web.listen-address=127.0.0.1:{asking}",
    )
    status = f"-nginx.scrape-uri=http://127.0.0.1:{door.status}/stub_status"
    with (
        exporters.running(
            "prometheus-nginx-exporter", numbers, status, f"-web.listen-address=127.0.0.1:{numbers}"
        ) as nginx,
        exporters.running("mtail", answers, *counted, *listen) as mtail,
        exporters.running("prometheus-blackbox-exporter", asking, *blackbox) as blackbox_exporter,
    ):
        yield nginx, mtail, blackbox_exporter


def places(door: Door, **other: str) -> Places:
    return Places(data=door.folder, secrets=door.folder, production=replace(door.places, **other))


def test_the_door_is_seen_from_three_sides_and_missed_from_each():
    """No Grafana stands behind it, so what is asked for ends in 502."""
    with nginx_server.running("127.0.0.1:9") as door, watched(door) as (nginx, mtail, blackbox):
        url = f"https://127.0.0.1:{door.port}/api/health"
        assert nginx.value("nginx_up") == 1
        assert blackbox.value("probe_http_status_code", "/probe", module="door", target=url) == 502
        assert blackbox.value("probe_success", "/probe", module="door", target=url) == 1, "nginx answers"
        with door.client() as browser:
            assert {browser.get("/login").status_code for _ in range(3)} == {502}
        until(lambda: (mtail.value('cluster_ai_door_responses_total{code="502"') or 0) >= 4, "answers to be counted")
        shown = blackbox.value("probe_ssl_earliest_cert_expiry", "/probe", module="door", target=url)
        assert shown is not None
        door.stop()
        assert nginx.value("nginx_up") == 0
        assert blackbox.value("probe_success", "/probe", module="door", target=url) == 0


def test_a_door_before_a_grafana_is_found_open_and_prometheus_is_told_so(tmp_path: Path):
    """By its public name inside, as it answers no other; outside, its name does not lead here."""
    with (
        grafana_standin.running() as grafana,
        nginx_server.running(grafana.address) as door,
        watched(door) as (_, mtail, blackbox),
    ):
        address = f"127.0.0.1:{blackbox.port}"
        there = places(door, blackbox=address, nginx_log_exporter=f"127.0.0.1:{mtail.port}")
        scraped = prometheus.settings(door.config, there)
        scraped["scrape_configs"] = [
            job | {"scrape_interval": "1s", "scrape_timeout": "1s"}
            for job in scraped["scrape_configs"]
            if job["job_name"] in ("door", "nginx_log")
        ]
        config = tmp_path / "prometheus.yml"
        config.write_text(yaml.safe_dump({"scrape_configs": scraped["scrape_configs"]}))
        port = free_port()
        command = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

        def asked(expr: str) -> dict[str, str]:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expr})
            except httpx.TransportError:
                return {}
            if answer.status_code != 200:  # it says so while it starts
                return {}
            found = json.loads(answer.text)["data"]["result"]
            return {series["metric"].get("instance", ""): series["value"][1] for series in found}

        try:
            url = f"https://127.0.0.1:{door.port}/api/health"
            until(lambda: asked('probe_success{job="door"}') == {url: "1"}, "the door to be found open", seconds=30)
            until(lambda: asked('cluster_ai_door_responses_total{code="200"}'), "answers to be counted", seconds=30)
        finally:
            process.kill()
            process.wait()
