"""A real Open WebUI with an administrator, whose API key the exporter has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tests.ports import free_port
from tests.real.openwebui_server import OpenWebUI, Person


def find(folder: Path, ollama_url: str) -> Chat | None:
    """One that is not started yet; None where it cannot be installed."""
    try:
        return Chat(folder, ollama_url)
    except (RuntimeError, subprocess.CalledProcessError, OSError):
        return None


class Chat(OpenWebUI):
    """The server; what it knows outlives a restart, and so does its port."""

    def __init__(self, folder: Path, ollama_url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, OLLAMA_BASE_URLS=ollama_url, ENABLE_OPENAI_API="false")
        self.ollama_url = ollama_url
        self.key_file = folder / "key"
        self.key_file.touch(mode=0o600)
        self._port = free_port()
        self.admin: Person

    async def begin(self) -> None:
        """The server, and its first user, who is the administrator."""
        await self.start_again()
        self.admin = await asyncio.to_thread(self.sign_up, "Ada")
        self.new_key()

    def new_key(self) -> None:
        """Another API key; the one before is refused from now on."""
        self.key_file.write_text(self.admin.make_key() + "\n")

    async def end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGCONT)
        await asyncio.to_thread(self.stop)

    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """At once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    async def start_again(self) -> None:
        """After `kill`."""
        await asyncio.to_thread(self.start, self._port)

    def restart_with(self, data: str) -> None:
        """With the data folder of that name, where it always was."""
        self.stop()
        self.start(self._port, DATA_DIR=str(self._folder / data))
