"""Processes under measurement: started, asked over kept connections, and accounted for by the kernel's books."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import yaml

_TICK = os.sysconf("SC_CLK_TCK")
_PATIENCE = 20.0
# As Prometheus asks.
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
    "Accept-Encoding": "gzip",
    "X-Prometheus-Scrape-Timeout-Seconds": "4.5",
}


class Process:
    """A running program."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def cpu(self) -> float:
        """Seconds of CPU it has used in all its threads; the kernel counts hundredths."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def rss(self) -> float:
        """MiB of memory it holds."""
        [line] = [line for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmRSS" in line]
        return int(line.split()[1]) / 1024


class Client:
    """One kept connection, as Prometheus has for each target."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str) -> tuple[float, bytes]:
        """Seconds and body; any status but 200 ends the benchmark."""
        start = time.perf_counter()
        self._connection.request("GET", path, headers=HEADERS)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:  # noqa: PLR2004 -- HTTP's OK
            raise SystemExit(f"{path} answered {answer.status}: {body[:200]!r}")
        return time.perf_counter() - start, body

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@contextmanager
def stand_in(kind: str, size: int) -> Iterator[Process]:
    """An upstream of `benchmarks.stand_ins`."""
    with telling_its_port([sys.executable, "-m", "benchmarks.stand_ins", kind, str(size)]) as process:
        yield process


@contextmanager
def telling_its_port(command: Sequence[str]) -> Iterator[Process]:
    """A server that prints the port it serves on, then no more."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 -- PIPE was asked for
        try:
            yield Process(process, int(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def exporter(targets: Mapping[str, Sequence[Mapping[str, object]]]) -> Iterator[Process]:
    """Our exporter with these `targets` of cluster-ai.yml."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cluster-ai.yml"
        file.write_text(yaml.safe_dump({"targets": dict(targets)}))
        command = [sys.executable, "-m", "provisioning.cli", "exporter", "--config", str(file), "--log.level", "error"]
        with running([*command, "--web.listen-address", f"127.0.0.1:{port}"], port, "/-/ready") as process:
            yield process


@contextmanager
def running(
    command: Sequence[str], port: int, ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Any program that serves HTTP on `port`, once it answers `ready`."""
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + _PATIENCE
            while not answers(port, ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]} does not answer on port {port}")
                time.sleep(0.05)
            yield Process(process, port)
        finally:
            process.kill()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """Whether something serves that path of that port now."""
    with closing(Client(port)) as client:
        try:
            client.get(path)
        except (OSError, SystemExit):  # the latter: not ready yet
            return False
    return True
