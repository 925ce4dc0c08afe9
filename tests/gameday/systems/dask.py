"""A real Dask cluster at work: a scheduler, three workers with nannies, and a client that always asks for something."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.gameday.waiting import surely
from tests.real.dask_cluster import OURS, Cluster

WORKERS = ("w1", "w2", "w3")
MEMORY = "400MB"
_WORK = Path(__file__).with_name("dask_work.py")
_PATIENCE = 40.0


class Client:
    """A process that asks the cluster for work; see dask_work.py."""

    def __init__(self, process: asyncio.subprocess.Process, flag: Path) -> None:
        self._process = process
        self._flag = flag

    async def do(self, command: str, **arguments: Any) -> Any:
        """Has one of its commands done. Raises ConnectionError when the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)
        if not line:
            raise ConnectionError(f"the client ended before it had done {command!r}")
        return json.loads(line)

    async def end(self) -> None:
        """Its tasks in workers end, then the scheduler forgets them."""
        self._flag.unlink(missing_ok=True)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Dask(Cluster):
    """The cluster; scheduler and workers can be started again under their old names."""

    def __init__(self, folder: Path) -> None:
        # Tasks whose worker died are tried on: the fault of one scenario is not that of the next.
        super().__init__(OURS, folder, SCHEDULER__ALLOWED_FAILURES="1000", WORKER__MEMORY__TARGET="0.3")
        self.folder = folder
        self._clients = 0
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Everything, at work."""
        self.start_scheduler()
        for name in WORKERS:
            self.start_worker(name, memory=MEMORY)
        self._working = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})
        for name in ("scheduler", *self.workers):
            for pid in self.tree(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        await self.__aexit__()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """One more client, ended with the context."""
        self._clients += 1
        flag = self.folder / f"flag-{self._clients}"
        command = [str(self._python), "-P", str(_WORK), self.address, str(flag)]
        with (self.folder / f"client-{self._clients}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment(),
                cwd=self.folder,
            )
        client = Client(process, flag)
        try:
            yield client
        finally:
            await client.end()

    def pid(self, name: str) -> int:
        """Of `scheduler`, of a worker such as `w1`, or of its nanny: `w1.nanny`."""
        worker, _, nanny = name.partition(".")
        process = self._scheduler if worker == "scheduler" else self.workers[worker]
        assert process is not None
        if worker == "scheduler" or nanny:
            return process.pid
        # Its command line is that of Python's multiprocessing, or says what it is where setproctitle is installed.
        [below] = [child.pid for child in _children(process) if "resource_tracker" not in " ".join(_command(child))]
        return below

    def tree(self, name: str) -> list[int]:
        """The process of that name and all below it."""
        process = self._scheduler if name == "scheduler" else self.workers[name]
        return [] if process is None else [process.pid, *(child.pid for child in _children(process))]

    def start_again(self) -> None:
        """Whatever has ended, under its old name: workers end without their scheduler, and something starts them."""
        assert self._scheduler is not None
        if self._scheduler.poll() is not None:
            self.start_scheduler()
        for name, process in list(self.workers.items()):
            if process.poll() is not None:
                self.start_worker(name, memory=MEMORY)

    async def whole(self) -> None:
        """Returns once every worker has joined, restarting those that give up meanwhile. Raises TimeoutError."""

        async def joined() -> bool:
            self.start_again()
            page = f"http://127.0.0.1:{self.dashboard_port}/json/counts.json"
            async with httpx.AsyncClient(trust_env=False) as http:
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    return (await http.get(page)).json()["workers"] == len(self.workers)
            return False

        await surely(joined, "every worker to join its scheduler", 60)

    def kill(self, name: str) -> None:
        """The process and all below it, at once, and nobody starts it again."""
        process = self._scheduler if name == "scheduler" else self.workers[name]
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    async def _work(self) -> None:
        """The normal work; begun again when the scheduler was gone."""
        while True:
            async with self.client() as client:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await client.do("normal")
                    await client._process.wait()
            await asyncio.sleep(1)


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def worker_pid(dask: Dask, name: str) -> int:
    """Of the worker below its nanny, once there is one."""

    def look() -> int | None:
        try:
            return dask.pid(name)
        except ValueError:  # none, or two for a moment
            return None

    return int(await surely(look, f"a process of the worker {name}", 30))
