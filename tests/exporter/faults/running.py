"""`cluster-ai exporter` as a process whose memory, files and threads a test reads from /proc."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.ports import free_port

CLUSTER_AI = str(Path(sys.executable).with_name("cluster-ai"))
TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
_PATIENCE = 30.0


@dataclass
class Exporter:
    """A running exporter."""

    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    def _status(self, field: str) -> int:
        found = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def rss(self) -> float:
        """MiB in memory."""
        return self._status("VmRSS") / 1024

    def peak(self) -> float:
        """The most MiB it had in memory since `forget_peak`."""
        return self._status("VmHWM") / 1024

    def forget_peak(self) -> None:
        """Begin to measure the peak anew (man 5 proc, clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def threads(self) -> int:
        return self._status("Threads")

    def cpu(self) -> float:
        """Seconds of processor that its threads of now have used."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def files(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def log(self) -> str:
        return self.log_file.read_text()


@contextmanager
def exporter(folder: Path, targets: Mapping[str, Sequence[Mapping[str, Any]]], *flags: str) -> Iterator[Exporter]:
    """An exporter of these targets, once it answers; ended with SIGTERM, and it must go."""
    file, log_file = folder / "cluster-ai.yml", folder / "exporter.log"
    file.write_text(yaml.safe_dump({"targets": dict(targets)}))
    address = f"127.0.0.1:{free_port()}"
    command = [CLUSTER_AI, "exporter", "--config", str(file), "--web.listen-address", address, *flags]
    with log_file.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        found = Exporter(process, f"http://{address}", log_file)
        try:
            _until_ready(found)
            yield found
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _until_ready(found: Exporter) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert found.process.poll() is None, found.log()
        assert time.monotonic() < deadline, found.log()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{found.url}/-/ready").status_code == 200:
                return
        time.sleep(0.05)
