"""`cluster-ai exporter` as a process: start, signals, ports, end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port

CLUSTER_AI = str(Path(sys.executable).with_name("cluster-ai"))
CONFIG = 'targets: {ollama: [{name: gpu-1, url: "http://127.0.0.1:%d"}]}\n'


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


class Process:
    """A running exporter and where it serves."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = file.with_suffix(".log")
        command = [CLUSTER_AI, "exporter", "--config", str(file)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--web.listen-address", f"127.0.0.1:{self.port}"], stderr=log, stdout=log
            )
        wait_for(lambda: self.answers() or self.process.poll() is not None)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> str:
        return httpx.get(self.url + path, timeout=20).text


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Process]:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(CONFIG % free_port())
    process = Process(file)
    yield process
    process.process.kill()
    process.process.wait()


def test_it_starts_and_serves_with_every_target_down(running):
    assert "ollama_up 0.0" in running.get("/probe?target=gpu-1")
    assert 'ollama_up{system="ollama",target="gpu-1"} 0.0' in running.get("/metrics")


def test_it_listens_on_loopback_only(running):
    hexport = f":{running.port:04X}"
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(hexport) and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F{hexport}"]


def test_sighup_reads_the_file_again_and_a_broken_file_changes_nothing(running):
    running.file.write_text((CONFIG % 1).replace("gpu-1", "gpu-2"))
    running.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "gpu-2" in running.get("/sd?kind=probe"))
    running.file.write_text("targets: {ollama: [{name: gpu-3}]}\n")
    running.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reload_successful 0.0" in running.get("/metrics?collect[]=self"))
    assert "gpu-2" in running.get("/sd?kind=probe")
    assert "url" in running.log.read_text()


def test_sigterm_lets_a_scrape_under_way_end_and_exits_with_0(tmp_path):
    file = tmp_path / "cluster-ai.yml"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file.write_text(CONFIG % silent.getsockname()[1])
        running = Process(file)
        scrape = socket.create_connection(("127.0.0.1", running.port))
        scrape.sendall(b"GET /probe?target=gpu-1 HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 2\r\n\r\n")
        asking, _ = silent.accept()  # the exporter is asking its target now
        running.process.send_signal(signal.SIGTERM)
        with asking, scrape:
            answer = scrape.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200")
    assert running.process.wait(15) == 0


def test_a_taken_port_is_one_line_and_exit_code_1(running, tmp_path):
    done = subprocess.run(
        [CLUSTER_AI, "exporter", "--config", running.file, "--web.listen-address", f"127.0.0.1:{running.port}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert line.startswith(
        f"Error: cannot serve: 127.0.0.1:{running.port}: in use by another program, maybe another exp"
    )
    assert "Traceback" not in done.stderr


def test_it_says_at_the_start_what_it_watches_and_by_which_file(running):
    assert f"targets watched: 1, of {running.file}" in running.log.read_text()


def test_a_broken_configuration_at_start_is_named_with_its_line(tmp_path):
    file = tmp_path / "cluster-ai.yml"
    file.write_text("targets:\n  ollama:\n    - {name: gpu-1}\n")
    done = subprocess.run(
        [CLUSTER_AI, "exporter", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode == 1
    assert f"{file}:3: " in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are read with prlimit")
def test_a_crash_leaves_no_core_with_secrets(tmp_path: Path):
    file = tmp_path / "cluster-ai.yml"
    file.write_text(CONFIG % free_port())
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        process = Process(file)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    try:
        assert resource.prlimit(process.process.pid, resource.RLIMIT_CORE) == (0, 0)
    finally:
        process.process.kill()
        process.process.wait()
