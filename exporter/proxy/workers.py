"""More processes for more cores: each listens on the same ports, and says what it counts at an address of its own.

The kernel gives each new connection to one of them (SO_REUSEPORT). Nothing is shared, so nothing must be agreed upon:
Prometheus reads them all, and their counts add up.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence

log = logging.getLogger(__name__)
PAUSE = 1.0
"""Seconds before a worker that has ended is started again."""
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, linux/prctl.h


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone, even if it was killed."""
    if sys.platform.startswith("linux"):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


class Workers:
    """Keeps a process for each command running."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = commands
        self._keeping: list[asyncio.Task[None]] = []
        self._running: set[Process] = set()
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Within a running event loop."""
        self._keeping = [asyncio.create_task(self._keep(command)) for command in self._commands]

    async def stop(self, seconds: float) -> None:
        """Let them end what is under way, for so long."""
        self._stopping.set()
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=seconds)
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*self._keeping)

    async def _keep(self, command: Sequence[str]) -> None:
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(*command)
            self._running.add(process)
            if self._stopping.is_set():  # it was decided while the process began
                process.terminate()
            code = await process.wait()
            self._running.discard(process)
            if not self._stopping.is_set():
                log.error("a worker of the proxy ended with %d and is started again", code)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), PAUSE)
