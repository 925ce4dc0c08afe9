"""A real Redis on loopback, where this machine has one: on PATH, or where $REDIS_SERVER points."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

PASSWORD = "redis-secret"


class Redis:
    """One server; `stop` and `start` keep its port."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self.url_file = folder / "redis-url"
        self.url_file.write_text(f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0")
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "requirepass": PASSWORD, "dir": self._folder}
        command = [self._program, *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end, "Redis does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Redis]:
    """A Redis, or the test is skipped with the reason."""
    program = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not on PATH, and $REDIS_SERVER does not name one")
    redis = Redis(program, folder)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()
