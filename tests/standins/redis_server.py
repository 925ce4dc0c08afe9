"""A real Redis on loopback: where $REDIS_SERVER points, on PATH, or Debian's package unpacked as `make tools` does.

`python -m tests.standins.redis_server` unpacks it, where there is apt; nothing is installed or started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package
from provisioning.render.redis import files
from provisioning.secrets.installation import Installation
from tests.ports import free_port

PASSWORD = "redis-secret"
# In Debian the server is in the package of its tools; the other one would start it.
PACKAGE = Package("redis-tools", {}, needs=("libjemalloc", "liblzf", "libatomic"))


class Redis:
    """One server; `stop` and `start` keep its port."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self.url_file = folder / "redis-url"
        self.url_file.write_text(f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0")
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "requirepass": PASSWORD, "dir": self._folder}
        return [str(part) for name, value in options.items() for part in (f"--{name}", value)]

    def start(self) -> None:
        command = [self._program, *self.command()]
        libraries = [str(path) for path in _unpacked().glob("usr/lib/*-linux-gnu")]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)} if libraries else None
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
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


class Rendered(Redis):
    """One with the settings and users of a production installation, at the address that it says."""

    def __init__(self, program: str, there: Installation, folder: Path) -> None:
        super().__init__(program, folder)
        self.port = int(there.parts.redis.rpartition(":")[2])
        self._there = there

    def command(self) -> list[str]:
        out = self._there.folder / "rendered"
        parts = replace(self._there.parts, redis_data=self._folder)
        places = replace(self._there.places, production=parts)
        [(name, text)] = files(self._there.config, places, out, "cluster-ai.yml").items()
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
        return [str(out / name)]


@contextlib.contextmanager
def rendered(there: Installation, folder: Path) -> Iterator[Rendered]:
    """A Redis of that installation, or the test is skipped with the reason."""
    redis = Rendered(needed(), there, folder)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Redis]:
    """A Redis, or the test is skipped with the reason."""
    redis = Redis(needed(), folder)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()


def needed() -> str:
    """The program, or the test is skipped with the reason."""
    program = find()
    if program is None:
        pytest.skip("redis-server is not on PATH and not unpacked yet (`make tools` unpacks it)")
    return program


def find() -> str | None:
    """The program, None when this machine has none."""
    ours = _unpacked() / "usr/bin/redis-check-rdb"  # one program, which goes by its name
    named = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    return named or (str(ours.with_name("redis-server")) if ours.exists() else None)


def _unpacked() -> Path:
    return default_cache_dir() / "debian" / PACKAGE.name


def main() -> None:
    """Unpacks Redis unless there is one; a machine without it skips some tests."""
    if find() is not None or not debian.available():
        return
    try:
        debian.fetch([PACKAGE], default_cache_dir(), print)
        server = _unpacked() / "usr/bin/redis-server"
        if not server.exists():
            server.symlink_to("redis-check-rdb")
    except FetchError as error:
        sys.stdout.write(f"Redis could not be had, its tests are skipped: {error}\n")


if __name__ == "__main__":
    main()
