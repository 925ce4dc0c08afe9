"""`cluster-ai proxy` as a process of its own, before an Ollama real or not."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.ports import free_port

_PATIENCE = 30.0


class Proxied:
    """A running proxy."""

    def __init__(self, folder: Path, upstream: str, workers: int = 0, **keys: Any) -> None:
        """`upstream` is Ollama's URL; `keys` are more of those under `proxy:`."""
        self.port, self.metrics_port = free_port(), free_port()
        self.workers = [free_port() for _ in range(workers)]
        self.url = f"http://127.0.0.1:{self.port}"
        proxy: Mapping[str, Any] = {"listen": f"127.0.0.1:{self.port}", **keys}
        config = {
            "targets": {"ollama": [{"name": "gpu", "url": upstream, "proxy": proxy}]},
            "services": {
                "ollama_proxy": f"127.0.0.1:{self.metrics_port}",
                "ollama_proxy_workers": [f"127.0.0.1:{port}" for port in self.workers],
            },
        }
        self.log_file = folder / "proxy.log"
        file = folder / "cluster-ai.yml"
        file.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "provisioning.cli", "proxy", "--config", str(file)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for port in (self.metrics_port, *self.workers):
            self.until(partial(self.ready, port))

    def ready(self, port: int) -> bool:
        """Whether the process whose metrics are there answers."""
        assert self.process.poll() is None, self.log()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/-/ready", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def until(self, condition: Any) -> None:
        """Return as soon as it is so."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def value(self, name: str, *labels: str, port: int = 0) -> float:
        """The sum of the samples whose labels contain all of these; `port` for those of a worker."""
        text = httpx.get(f"http://127.0.0.1:{port or self.metrics_port}/metrics", trust_env=False, timeout=20).text
        lines = [line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels))

    def memory(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(40)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def proxied(folder: Path, upstream: str, **keys: Any) -> Iterator[Proxied]:
    """One that is stopped at the end."""
    made = Proxied(folder, upstream, **keys)
    try:
        yield made
    finally:
        made.stop()
