"""The programs of a stack, each of which can be killed and started again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from tests.compose.running import until
from tests.standins.faketime import Clock
from tests.standins.nginx_server import Door
from tests.standins.postgres_server import Postgres
from tests.standins.redis_server import Redis

PATIENCE = 180.0  # s, for a start on a busy machine
RESTART = 0.1  # s until the engine starts what has ended; twice as long each time that it ends again
_TRIES = 8


class Part(Protocol):
    """What every one can do."""

    def begin(self) -> None:
        """Starts it; it need not answer yet."""

    def wait(self) -> None:
        """Until it answers."""

    def kill(self) -> None:
        """`kill -9`, of all of it at once, as when a container's first process is killed."""

    @property
    def runs(self) -> bool:
        """Whether its process is there."""


class Program:
    """One that answers HTTP. Where it ends at its start it is started again, as the engine does."""

    def __init__(self, command: list[str], ready: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command, self._ready, self._log = command, ready, log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.ended = 0
        """How often it has, since it was last told to begin."""

    def begin(self) -> None:
        self.ended = 0
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd="/", env=self._environment, start_new_session=True
            )

    def wait(self) -> None:
        until(self._answers, f"{self._log.stem} to answer", PATIENCE)

    def kill(self) -> None:
        if self._process is not None:
            _kill(self._process)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        if not self.runs:
            assert self.ended < _TRIES, f"{self._log.stem} ends: {self._log.read_text(errors='replace')[-2000:]}"
            time.sleep(RESTART * 2**self.ended)
            self.ended += 1
            self._start()
        with suppress(httpx.HTTPError):
            return httpx.get(self._ready, trust_env=False, timeout=10).is_success
        return False


class Nginx:
    """The door, by its own start script."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def begin(self) -> None:
        self._door.start()

    def wait(self) -> None:
        """Its start has waited."""

    def kill(self) -> None:
        if self._door.process is not None:
            _kill(self._door.process)

    @property
    def runs(self) -> bool:
        return self._door.process is not None and self._door.process.poll() is None


class Database:
    """PostgreSQL, under a clock that may jump."""

    def __init__(self, server: Postgres, clock: Clock | None) -> None:
        self.server, self._clock = server, clock
        self._made = False
        if clock is not None:  # for PostgreSQL alone, not for what starts it as another user
            server._as += ["env", *(f"{name}={value}" for name, value in clock.environment.items())]

    def begin(self) -> None:
        if not self._made:
            self._made = True
            self.server.make()
        else:
            self.server.start()

    def wait(self) -> None:
        """Its start has waited."""

    def kill(self) -> None:
        if self.server._process is not None:
            _kill(self.server._process, self._clock)
            self.server._process = None

    @property
    def runs(self) -> bool:
        return self.server._process is not None and self.server._process.poll() is None


class Cache:
    """Redis."""

    def __init__(self, server: Redis) -> None:
        self._server = server

    def begin(self) -> None:
        self._server.start()

    def wait(self) -> None:
        """Its start has waited."""

    def kill(self) -> None:
        self._server.stop()  # which is a kill

    @property
    def runs(self) -> bool:
        return self._server._process is not None


def _kill(process: subprocess.Popen[bytes], clock: Clock | None = None) -> None:
    """It and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()
    if clock is not None:
        clock.forget(process.pid)
