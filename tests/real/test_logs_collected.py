"""How lines get into Loki: through a real Alloy, as Docker hands them over and as browsers send them to the door.

Needs $LOKI and $ALLOY, or both on PATH; the door nginx, what browsers say of themselves GRAFANA_HOME and Chromium.
"""

from __future__ import annotations

import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest

from provisioning.config.model import Services
from provisioning.render import logs
from tests.compose.running import until
from tests.ports import free_port
from tests.real import grafana_server
from tests.real.browser import PATIENCE, chromium
from tests.standins import nginx_server
from tests.standins.log_store import LogStore
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
_EVENT_TIME = 0  # the number of its type in Fluentd's protocol
ORIGIN = f"https://{DOMAIN}"


def hand_over(store: LogStore, service: str, *lines: str, stream: str = "stdout") -> None:
    """As Docker's driver `fluentd` does, with times below a second."""
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(str(store.socket))
        for line in lines:
            now = time.time_ns()
            at = msgpack.ExtType(_EVENT_TIME, struct.pack(">II", now // 10**9, now % 10**9))
            record = {"container_id": "0" * 64, "container_name": f"/x-{service}-1", "source": stream, "log": line}
            there.sendall(msgpack.packb([service, at, record]))


def found(client: httpx.Client, selector: str) -> list[tuple[dict[str, str], str]]:
    """Labels and line of everything that fits."""
    answer = client.get("/loki/api/v1/query_range", params={"query": selector, "since": "10m", "limit": "500"})
    assert answer.status_code == 200, answer.text
    streams = answer.json()["data"]["result"]
    return [(stream["stream"], line) for stream in streams for _, line in stream["values"]]


def test_a_container_s_line_arrives_as_it_was_written_under_its_service(tmp_path: Path):
    lines = [
        '{"level":"error","msg":"é \\" \\n"}',
        "plain text, 50 % \t of it",
        "<script>alert(1)</script>",
        "x" * 16_000,
    ]
    store = LogStore(tmp_path)
    with store.running() as client, store.collecting():
        hand_over(store, "nginx", *lines)
        hand_over(store, "grafana-1", "complains", stream="stderr")
        until(lambda: len(found(client, '{service=~".+"}')) == 5, "all lines", seconds=30)
        assert sorted(line for _, line in found(client, '{service="nginx"}')) == sorted(lines)
        [(labels, line)] = found(client, '{service="grafana-1"}')
        assert (labels, line) == ({"service": "grafana-1", "stream": "stderr"}, "complains")
        assert client.get("/loki/api/v1/labels").json()["data"] == list(logs.LABELS)


def test_a_kill_leaves_no_socket_in_its_way_and_a_store_that_was_away_gets_every_line(tmp_path: Path):
    store = LogStore(tmp_path)
    with store.collecting() as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.socket.exists(), "it was left behind"
    with store.collecting():
        hand_over(store, "postgres", "written while the store was away")
        with store.running() as client:
            until(lambda: found(client, '{service="postgres"}'), "the line", seconds=60)
            assert [line for _, line in found(client, '{service="postgres"}')] == ["written while the store was away"]


def report(**more: Any) -> dict[str, Any]:
    """What Grafana's pages send, by the format of its Faro library."""
    error = {"type": "TypeError", "value": "x is undefined", "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {
        "meta": {"app": {"name": "grafana-frontend"}, "page": {"url": f"{ORIGIN}/d/x"}},
        "exceptions": [error],
        **more,
    }


@contextmanager
def door_before(store: LogStore, *grafanas: str) -> Iterator[Door]:
    """nginx that leads what browsers report to Alloy, which knows the public address of this very door."""
    with nginx_server.running(*(grafanas or ("127.0.0.1:9",)), faro=store.places.faro, logs=True, rum=True) as door:
        store.render(door.config)
        yield door


def test_what_a_browser_reports_comes_in_by_the_door(tmp_path: Path):
    store = LogStore(tmp_path)
    with door_before(store) as door, store.running() as client, store.collecting(), door.client() as browser:
        answer = browser.post("/faro/collect", json=report(), headers={"Origin": door.url, "Cookie": "secret=1"})
        assert answer.status_code == 202, answer.text
        until(lambda: found(client, '{service="browser"}'), "the report", seconds=30)
        [(labels, line)] = found(client, '{service="browser"}')
        assert labels == {"service": "browser"}
        assert "x is undefined" in line
        assert "secret" not in line
        too_long = browser.post("/faro/collect", json=report(x="y" * 40_000), headers={"Origin": door.url})
        assert too_long.status_code == 413
        foreign = browser.options(
            "/faro/collect",
            headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        )
        assert "access-control-allow-origin" not in foreign.headers


def test_pages_of_a_real_grafana_report_how_fast_they_were(tmp_path: Path):
    grafana_server.home()
    store, port = LogStore(tmp_path), free_port()
    with door_before(store, f"127.0.0.1:{port}") as door, store.running() as client, store.collecting():
        config = door.config.model_copy(update={"services": Services(grafana=f"127.0.0.1:{port}")})
        with (
            rum_settings(),
            grafana_server.running(tmp_path / "grafana", config) as grafana,
            chromium(f"--host-resolver-rules=MAP {DOMAIN} 127.0.0.1") as browser,
        ):
            context = browser.new_context(base_url=door.url, ignore_https_errors=True)
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.goto("/login")
            page.fill('input[name="user"]', "admin")
            page.fill('input[name="password"]', grafana.password)
            page.click('button[type="submit"]')
            page.wait_for_url(lambda url: "/login" not in url)
            page.goto("/d/cluster-ai-dashboard")
            page.wait_for_selector("[data-viz-panel-key]")
            page.goto("about:blank")  # the last numbers are sent as somebody leaves
            until(lambda: "kind=measurement" in str(found(client, '{service="browser"}')), "numbers", seconds=60)
        lines = [line for _, line in found(client, '{service="browser"}')]
        assert any("cluster-ai-dashboard" in line for line in lines), lines
        assert not any(grafana.password in line for line in lines)


@contextmanager
def rum_settings() -> Iterator[None]:
    """What grafana.ini has in production alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GF_LOG_FRONTEND_ENABLED", "true")
        patch.setenv("GF_LOG_FRONTEND_CUSTOM_ENDPOINT", "/faro/collect")
        patch.setenv("GF_LOG_FRONTEND_INSTRUMENTATIONS_WEBVITALS_ENABLED", "true")
        yield
