"""A real Ollama with a small model that people use all the time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.real.ollama_server import TINY, OllamaServer

SECOND = "second"  # so that two can push each other out
_EVERY = 2.0  # s between two questions


def find(folder: Path) -> Ollama | None:
    """One that is not started yet; None, where none can be had."""
    try:
        return Ollama(folder)
    except pytest.skip.Exception:
        return None


class Ollama(OllamaServer):
    """The server, and the questions that it is asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, OLLAMA_MAX_LOADED_MODELS="1", OLLAMA_KEEP_ALIVE="30m")
        self.asking = True
        """False stops the normal questions, which load the model again."""
        self._working: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Everything, in use."""
        await asyncio.to_thread(self.start)
        for name in (TINY, SECOND):
            await asyncio.to_thread(self.create, name, title=name)
        await asyncio.to_thread(self.generate)
        self._working = asyncio.create_task(self._work())

    async def end(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})
        if self.process is not None:
            for pid in (self.process.pid, *self.runners()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        await asyncio.to_thread(self.stop)
        self.http.close()

    def pid(self, name: str) -> int:
        """Of `server` or of its one `runner`."""
        assert self.process is not None
        if name == "server":
            return self.process.pid
        [runner] = self.runners()
        return runner

    def kill(self) -> None:
        """The server and its runners, at once."""
        assert self.process is not None
        for pid in (*self.runners(), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    async def start_again(self) -> None:
        """After `kill`, with the model in memory as before."""
        await asyncio.to_thread(self.start)
        await asyncio.to_thread(self.generate)

    async def _work(self) -> None:
        body = {"model": TINY, "prompt": "a", "raw": True, "stream": False, "options": {"num_predict": 2}}
        async with httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False) as http:
            while True:
                if self.asking:
                    with contextlib.suppress(httpx.HTTPError):
                        await http.post("/api/generate", json=body)
                await asyncio.sleep(_EVERY)
