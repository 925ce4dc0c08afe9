"""Everything that runs in a game day: the systems, the stack that watches them, and those who receive its messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from compose.native import record
from compose.native.places import State
from compose.native.service import Condition
from tests.gameday import people
from tests.gameday.messages import Heartbeats, Ledger, MailServer
from tests.gameday.phones import Phones
from tests.gameday.stack import SECOND
from tests.gameday.systems import ollama, openwebui
from tests.gameday.systems.dask import Dask
from tests.gameday.systems.gpu_ollama import GpuOllama
from tests.gameday.systems.machine import Machine
from tests.gameday.waiting import surely
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DISK_MB = 48
CLUSTERS = ("dask-a", "dask-b")  # one where faults pass quickly, one where they are told for an hour
Say = Callable[[str], None]
_WITHOUT = {
    "dask": "no Dask cluster was started",
    "ollama": "no Ollama is here",
    "gpu_ollama": "no stand-in for an Ollama was started",
    "openwebui": "no Open WebUI is here",
    "machine": "no second machine was started",
    "disk": "a small disk can only be mounted by root",
    "grafana": "no Grafana is here (GRAFANA_HOME names one)",
}


@dataclass
class Ports:
    """Where things listen."""

    exporter: int = field(default_factory=free_port)
    prometheus: int = field(default_factory=free_port)
    alertmanager: int = field(default_factory=free_port)
    node_exporter: int = field(default_factory=free_port)
    grafana: int = field(default_factory=free_port)
    sms_bridge: int = field(default_factory=free_port)
    second: int = field(default_factory=free_port)
    gossip: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    mail: int = field(default_factory=free_port)
    machine: int = field(default_factory=free_port)


class Stage:
    """The whole scene; start it with `async with`."""

    def __init__(self, folder: Path, factor: float, say: Say, systems: frozenset[str]) -> None:
        """`systems`: which of dask, ollama, openwebui and host are there."""
        self.folder, self.factor, self._say, self._systems = folder, factor, say, systems
        self.ports = Ports()
        self.ledger = Ledger()
        self.mail = MailServer(self.ledger, self.ports.mail)
        self.phones = Phones(self.ledger)
        self.heartbeats = Heartbeats(self.ledger)
        self.state = State(folder / "state")
        self.config_file = folder / "cluster-ai.yml"
        self.config: dict[str, Any] = {}
        self.dask: dict[str, Dask] = {}
        self.ollama: ollama.Ollama | None = None
        self.gpu_ollama: GpuOllama | None = None
        self.openwebui: openwebui.Chat | None = None
        self.machine: Machine | None = None
        self.disk: Path | None = None
        """A small file system of its own, that may be filled."""
        self.http = httpx.AsyncClient(timeout=10, trust_env=False)
        self._stack: asyncio.subprocess.Process | None = None
        self._undo = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._undo.aclose()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._undo.aclose()

    def url(self, service: str) -> str:
        """Of a service of the stack."""
        return f"http://127.0.0.1:{getattr(self.ports, 'second' if service == SECOND else service)}"

    def pid(self, name: str) -> int:
        """Of a process by its name: `dask-a.scheduler`, `ollama.runner`, `openwebui`, or a service such as `exporter`.

        Raises LookupError while there is none.
        """
        system, _, part = name.partition(".")
        if system in self.dask:
            return self.dask[system].pid(part)
        if system == "ollama" and self.ollama is not None:
            return self.ollama.pid(part)
        if system == "openwebui" and self.openwebui is not None:
            return self.openwebui.pid()
        service = record.read(self.state).service(name)
        if service is None or service.pid is None:
            raise LookupError(f"no process is called {name!r} now")
        return service.pid

    def running(self, service: str) -> bool:
        """Whether the supervisor says that it answers."""
        found = record.read(self.state).service(service)
        return found is not None and found.state is Condition.RUNNING

    def reload(self, service: str) -> None:
        """As an operator does: every service of ours reads its files again when it gets a SIGHUP."""
        os.kill(self.pid(service), signal.SIGHUP)

    def lacks(self, need: str) -> str | None:
        """Why a scenario that needs this cannot be played; None when it can."""
        there = {
            "dask": self.dask or None,
            "ollama": self.ollama,
            "gpu_ollama": self.gpu_ollama,
            "openwebui": self.openwebui,
            "machine": self.machine,
            "disk": self.disk,
            "grafana": self.running("grafana") or None,
        }
        return None if there[need] is not None else _WITHOUT[need]

    def write_config(self) -> None:
        """What `self.config` says now."""
        self.config_file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    async def _start(self) -> None:
        self._undo.push_async_callback(self.http.aclose)
        for receiver in (self.mail, self.phones, self.heartbeats):
            receiver.start()
            self._undo.callback(receiver.stop)
        targets = await self._start_systems()
        self.config = people.config(self, targets)
        self.write_config()
        self._say("Starting the stack ...")
        log = self._undo.enter_context((self.folder / "stack.log").open("ab"))
        local = [f"127.0.0.1:{port}" for port in (self.ports.second, *self.ports.gossip)]
        command = [
            *(sys.executable, "-m", "tests.gameday.stack", "--factor", str(self.factor), "--pair", *local),
            *("--state-dir", str(self.state.root), "--config", str(self.config_file)),
        ]
        nothing = subprocess.DEVNULL
        self._stack = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, stdin=nothing, cwd=ROOT, env=self._environment()
        )
        self._undo.push_async_callback(self._stop_stack)
        await surely(self._stack_answers, f"the stack; see {self.folder / 'stack.log'}", 120)

    def _environment(self) -> dict[str, str]:
        # Without a Grafana named for it, none: a download is not what a game day is about.
        return {**os.environ, "GRAFANA_HOME": os.environ.get("GRAFANA_HOME", "/nonexistent")}

    def _stack_answers(self) -> bool:
        assert self._stack is not None
        if self._stack.returncode is not None:
            raise RuntimeError(f"the stack did not start:\n{(self.folder / 'stack.log').read_text()[-3000:]}")
        services = record.read(self.state).services
        awaited = [one for one in services if one.state is not Condition.ABSENT]
        return bool(awaited) and all(one.state is Condition.RUNNING for one in awaited)

    async def _stop_stack(self) -> None:
        assert self._stack is not None
        if self._stack.returncode is not None:
            return
        self._stack.terminate()
        try:
            await asyncio.wait_for(self._stack.wait(), 20)
        except TimeoutError:
            self._stack.kill()
            await self._stack.wait()

    async def _start_systems(self) -> dict[str, Any]:
        """The systems that are asked for; gives `targets` of cluster-ai.yml."""
        targets: dict[str, Any] = {}
        if "dask" in self._systems:
            targets["dask"] = await self._start_dask()
        if "ollama" in self._systems:
            targets["ollama"] = await self._start_ollama()
        if "openwebui" in self._systems and self.ollama is not None:
            targets["openwebui"] = await self._start_openwebui()
        targets["hosts"] = [{"name": people.HERE, "node_exporter": self.url("node_exporter")}]
        if "host" in self._systems:
            self.machine = Machine(self.ports.machine, self.url("node_exporter"))
            self.machine.start()
            self._undo.callback(self.machine.stop)
            url = self.machine.url
            self._mount_disk()
            targets["hosts"].append({"name": "gpu-1", "node_exporter": url, "gpu_exporter": f"{url}/gpu"})
        return {name: entries for name, entries in targets.items() if entries}

    async def _start_dask(self) -> list[dict[str, Any]]:
        for name in CLUSTERS:
            self.dask[name] = Dask(self._folder(name))
            self._undo.push_async_callback(self.dask[name].stop)
            await self.dask[name].start()
        self._say(f"Dask: {len(CLUSTERS)} real clusters of three workers")
        return [{"name": name, "scheduler": cluster.address} for name, cluster in self.dask.items()]

    async def _start_ollama(self) -> list[dict[str, Any]]:
        self.gpu_ollama = GpuOllama(self._folder("ollama-b"))
        self.gpu_ollama.start()
        self._undo.callback(self.gpu_ollama.stop)
        self._say("Ollama with a GPU: a stand-in with recorded answers")
        probe = {"enabled": True, "every": "5s", "timeout": "3s"}
        ca_file = str(self.gpu_ollama.ca_file)
        gpu = {"name": "ollama-b", "url": self.gpu_ollama.url, "ca_file": ca_file, "generation_probe": probe}
        self.ollama = ollama.find(self._folder("ollama"))
        if self.ollama is None:
            self._say("Ollama: none here; put one on PATH or name it in OLLAMA_BINARY. Its scenarios are left out.")
            return [gpu]
        self._undo.push_async_callback(self.ollama.end)
        await self.ollama.begin()
        version = self.ollama.http.get("/api/version").json()["version"]
        self._say(f"Ollama: a real one, {self.ollama.binary}, version {version}")
        patient = {"enabled": True, "every": "10s", "timeout": "20s"}  # a busy machine is no hang
        real = {
            "name": "ollama-a",
            "url": self.ollama.url,
            "must_be_loaded": [ollama.TINY],
            "generation_probe": patient,
        }
        return [real, gpu]

    async def _start_openwebui(self) -> list[dict[str, Any]]:
        assert self.ollama is not None
        self.openwebui = openwebui.find(self._folder("openwebui"), self.ollama.url)
        if self.openwebui is None:
            self._say("Open WebUI: it cannot be installed here. Its scenarios are left out.")
            return []
        self._undo.push_async_callback(self.openwebui.end)
        await self.openwebui.begin()
        self._say("Open WebUI: a real one")
        key_file = str(self.openwebui.key_file)
        return [{"name": "chat-a", "url": self.openwebui.url, "api_key_file": key_file, "refresh": "5s"}]

    def _mount_disk(self) -> None:
        """A file as a disk, with a file system that a real one would have; only root may."""
        image, disk = self.folder / "disk.img", self._folder("disk")
        with image.open("wb") as file:
            file.truncate(DISK_MB << 20)
        commands = (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(disk)])
        try:
            for command in commands:
                subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            self._say("Disk: none of its own could be mounted, which takes root. Its scenarios are left out.")
            return
        self.disk = disk
        self._undo.callback(subprocess.run, ["umount", "-l", str(disk)], check=True, capture_output=True)

    def _folder(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir(parents=True, exist_ok=True)
        return made
