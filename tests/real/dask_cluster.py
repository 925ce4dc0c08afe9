"""Real Dask clusters of several versions, each in a virtual environment of its own, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.ports import free_port

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".cache" / "test-venvs"
DRIVER = Path(__file__).with_name("dask_driver.py")
# Old releases name no upper bounds; these are what they ran with in their day.
PINS = {
    "2022.12.1": ["tornado<6.3", "click<8.2", "msgpack<2", "setuptools<80"],
    "2024.2.1": ["click<8.2", "msgpack<2"],
    "2026.8.0": [],
}
VERSIONS = tuple(PINS)
OURS = "ours"  # what this environment has


def python_of(version: str) -> Path:
    """The interpreter of a virtual environment with that version of distributed; made once, kept between runs."""
    if version == OURS:
        return Path(sys.executable)
    wanted = [f"distributed=={version}", f"dask=={version}", "prometheus-client", "cryptography", *PINS[version]]
    mark = hashlib.sha256("\n".join((sys.version, *wanted)).encode()).hexdigest()[:12]
    folder = VENVS / f"dask-{version}-{mark}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        subprocess.run(pip, check=True)
        ready.touch()
    return python


async def until(condition: Callable[[], Awaitable[T]], what: str, timeout: float = 30.0) -> T:
    """The first true answer of `condition`."""
    end = time.monotonic() + timeout
    while True:
        answer = await condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        await asyncio.sleep(0.05)


class Cluster:
    """A scheduler and its workers as processes; what they print goes to a file each in `folder`."""

    def __init__(self, version: str, folder: Path, tls: dict[str, Path] | None = None, **settings: str) -> None:
        """`settings` are Dask's, as it spells them in the environment, without `DASK_DISTRIBUTED__`."""
        self._python = python_of(version)
        self._folder = folder
        self._tls = tls
        self._settings = {f"DASK_DISTRIBUTED__{name}": value for name, value in settings.items()}
        self.port, self.dashboard_port = free_port(), free_port()
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._driver: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self.start_scheduler()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._driver is not None and self._driver.returncode is None:
            self._driver.kill()
            await self._driver.wait()
        for process in (*self.workers.values(), self._scheduler):
            if process is not None:
                _end(process)

    def start_scheduler(self) -> None:
        """Start it, or start it again after `kill_scheduler`, on the same port."""
        dashboard = f"127.0.0.1:{self.dashboard_port}"
        arguments = ["--host", self.address, "--port", str(self.port), "--dashboard-address", dashboard]
        self._scheduler = self._start("scheduler", "dask_scheduler", *arguments)

    def kill_scheduler(self) -> None:
        assert self._scheduler is not None
        _end(self._scheduler)

    def signal_scheduler(self, number: signal.Signals) -> None:
        assert self._scheduler is not None
        self._scheduler.send_signal(number)

    def start_worker(self, name: str, *, memory: str = "400MB", threads: int = 1, nanny: bool = True) -> None:
        arguments = [self.address, "--name", name, "--nthreads", str(threads), "--memory-limit", memory]
        arguments += ["--dashboard-address", "127.0.0.1:0", "--host", self.address.rpartition(":")[0]]
        arguments += ["--nanny" if nanny else "--no-nanny", "--local-directory", str(self._folder / name)]
        self.workers[name] = self._start(f"worker-{name}", "dask_worker", *arguments)

    async def do(self, command: str, **arguments: Any) -> Any:
        """Have a real Dask client of the cluster's own version do something; see dask_driver.py."""
        if self._driver is None:
            with (self._folder / "driver.log").open("ab") as log:
                self._driver = await asyncio.create_subprocess_exec(
                    *(str(self._python), str(DRIVER), self.address),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=self._environment(),
                )
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        line = await asyncio.wait_for(self._driver.stdout.readline(), 40)
        assert line, (self._folder / "driver.log").read_text()[-2000:]
        return json.loads(line)

    def log_of(self, name: str) -> str:
        """What `scheduler` or `worker-NAME` printed so far."""
        return (self._folder / f"{name}.log").read_text()

    def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(self._python), "-m", f"distributed.cli.{module}", *arguments],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        settings = {
            "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON__MALLOC_TRIM_THRESHOLD_": "65536",
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        }
        if self._tls:
            settings["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
            for role in ("scheduler", "worker", "client"):
                settings[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__CERT"] = str(self._tls["cert"])
                settings[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__KEY"] = str(self._tls["key"])
            settings["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = str(self._tls["ca"])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DASK_", "PYTHON"))}
        return {**kept, **settings, **self._settings, "PYTHONWARNINGS": "ignore"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started (a nanny's worker), at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
