"""The whole stack as `cluster-ai up` starts it, with the demo's real Dask cluster, asked by PromQL.

The tests build on each other: one stack is started, hurt, stopped and started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from compose.native import record
from compose.native.places import State
from tests.compose.running import alive, until
from tests.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
SERVICES = ("exporter", "prometheus", "alertmanager", "node_exporter", "grafana", "dask")


class Stack:
    """One state folder, and where its services listen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = State(folder / "state")
        self.ports = {name: free_port(run=2) for name in SERVICES}  # the demo's dashboard is beside its scheduler
        # Without a Grafana named for the test, none: a download is not what is tested here.
        self._environment = {**os.environ, "GRAFANA_HOME": os.environ.get("GRAFANA_HOME", "/nonexistent")}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "provisioning.cli", *words, "--state-dir", str(self.state.root)]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=150, check=False
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        listen = [word for name, port in self.ports.items() for word in ("--listen", f"{name}=127.0.0.1:{port}")]
        return self.command("up", "--detach", *listen)

    def status(self) -> dict[str, dict[str, Any]]:
        data = json.loads(self.command("status", "--json").stdout)
        return {one["name"]: one for kind in ("services", "targets") for one in data[kind]}

    def query(self, promql: str, at: float | None = None) -> list[dict[str, Any]]:
        """The result, empty also while Prometheus does not answer."""
        parameters = {"query": promql} | ({"time": str(at)} if at else {})
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query", params=parameters)
        except httpx.HTTPError:
            return []
        return list(answer.json()["data"]["result"]) if answer.status_code == 200 else []

    def value(self, promql: str, at: float | None = None) -> float | None:
        result = self.query(promql, at)
        return float(result[0]["value"][1]) if result else None

    def processes(self) -> list[int]:
        """The supervisor and everything below it."""
        supervisor = record.supervisor(self.state)
        assert supervisor is not None
        return [supervisor, *(child.pid for child in psutil.Process(supervisor).children(recursive=True))]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"))
    try:
        done = made.up()
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.command("down")


def test_every_service_answers_and_the_targets_are_seen(stack: Stack) -> None:
    until(lambda: stack.status()["demo"]["up"] is not None, "the exporter's first look")
    seen = stack.status()
    grafana = "running" if "GRAFANA_HOME" in os.environ else "absent"
    assert {name: seen[name]["state"] for name in SERVICES} == dict.fromkeys(SERVICES, "running") | {"grafana": grafana}
    assert seen["demo"] == {"name": "demo", "system": "dask", "up": True, "error": None}
    for name in SERVICES:
        if seen[name]["state"] == "running":
            assert httpx.get(seen[name]["url"], follow_redirects=True).status_code == 200, name


def test_only_loopback_is_listened_on(stack: Stack) -> None:
    listening = [
        connection
        for pid in stack.processes()
        for connection in psutil.Process(pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 10
    assert {connection.laddr.ip for connection in listening} <= {"127.0.0.1", "::1"}


def test_prometheus_has_the_exporters_view_and_every_workers_own(stack: Stack) -> None:
    until(lambda: stack.value('dask_cluster_up{target="demo"}') == 1, "dask_cluster_up", seconds=45)
    joined = 'count(dask_worker_threads{job="native"} * on (target, worker) dask_cluster_worker_threads{job="probe"})'
    until(lambda: stack.value(joined) == 4, "four workers, joined by name", seconds=60)
    until(lambda: stack.value('up{job="node"}') == 1, "node_exporter", seconds=30)


def test_a_worker_that_comes_is_scraped_and_one_that_is_killed_is_counted(stack: Stack) -> None:
    lost = 'dask_cluster_worker_removals_total{target="demo", expected="false"}'
    assert stack.value(lost) == 0
    command = [
        sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{stack.ports['dask']}",
        "--name", "extra", "--no-nanny", "--nthreads", "1", "--memory-limit", "300MiB",
        "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--local-directory", str(stack.folder),
    ]  # fmt: skip
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: stack.value('up{job="native", worker="extra"}') == 1, "the new worker is scraped", seconds=45)
    finally:
        worker.kill()
        worker.wait()
    until(lambda: stack.value(lost) == 1, "the loss is counted", seconds=30)


def test_a_killed_prometheus_is_started_again_and_goes_on(stack: Stack) -> None:
    first = stack.status()["prometheus"]["pid"]
    os.kill(first, signal.SIGKILL)

    def again() -> bool:
        now = stack.status()["prometheus"]
        return now["state"] == "running" and now["pid"] != first

    until(again, "another Prometheus", seconds=30)
    assert "restarted once" in stack.command("status").stdout
    until(lambda: stack.value('dask_cluster_up{target="demo"}') == 1, "series again", seconds=30)


def test_down_leaves_nothing_and_the_next_up_finds_its_history(stack: Stack) -> None:
    seen_at = time.time()
    silence = _silence(stack)
    pids = stack.processes()
    assert len(pids) >= 10
    begun = time.monotonic()
    assert stack.command("down").stdout.endswith("Everything is stopped.\n")
    assert time.monotonic() - begun < 15
    assert [pid for pid in pids if alive(pid)] == []
    assert stack.command("status").returncode == 3

    done = stack.up()
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.value('dask_cluster_up{target="demo"}', at=seen_at) == 1
    silences = httpx.get(f"http://127.0.0.1:{stack.ports['alertmanager']}/api/v2/silences").json()
    assert [one["id"] for one in silences] == [silence]


def test_a_killed_supervisor_takes_everything_along(stack: Stack) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux kills children with their parent")
    pids = stack.processes()
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: [pid for pid in pids if alive(pid)] == [], "everything ends", seconds=15)


def _silence(stack: Stack) -> str:
    now = datetime.now(UTC)
    body = {
        "matchers": [{"name": "alertname", "value": "Nothing", "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "kept across a restart",
    }
    answer = httpx.post(f"http://127.0.0.1:{stack.ports['alertmanager']}/api/v2/silences", json=body)
    return str(answer.json()["silenceID"])
