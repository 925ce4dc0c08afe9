"""The ways to break a stack. Each breaks it when it is entered and mends it when it is left."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from provisioning.secrets.database import Login, query
from tests.compose.running import until

if TYPE_CHECKING:
    from tests.outages.stack import Stack


@contextmanager
def gone(stack: Stack, parts: list[str]) -> Iterator[None]:
    """`kill -9`; when it is left, a start as that of the engine, which starts what has ended at once."""
    for name in parts:
        stack.parts[name].kill()
    yield
    for name in parts:
        stack.parts[name].begin()
    for name in parts:
        stack.parts[name].wait()


@contextmanager
def worker_killed(stack: Stack) -> Iterator[None]:
    """Those that serve; nginx itself starts others."""
    master = psutil.Process(int((stack.door.folder / "run/nginx.pid").read_text()))
    workers = [child for child in master.children() if "worker process" in " ".join(child.cmdline())]
    assert workers, "nginx has no workers"
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    yield


@contextmanager
def certificate_expired(stack: Stack) -> Iterator[None]:
    """It is replaced as a renewal does: by files that nginx's start script sees."""
    door = stack.door
    before = door.serial()
    door.new_certificate(lasts=-dt.timedelta(minutes=1))
    until(lambda: _shown_is_refused(stack), "nginx to show the one that has expired")
    yield
    door.new_certificate(lasts=dt.timedelta(days=90))
    until(lambda: not _shown_is_refused(stack) and door.serial() != before, "nginx to show the new one")


def _shown_is_refused(stack: Stack) -> bool:
    with contextlib.suppress(OSError):
        stack.door.serial()
        return False
    return True


@contextmanager
def disk_full(stack: Stack) -> Iterator[None]:
    """Of the folder of PostgreSQL's data, to the last block that is not kept for root."""
    assert stack.disk is not None
    filler = stack.disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], check=False, stderr=subprocess.DEVNULL)
    yield
    filler.unlink()
    postgres = stack.parts["postgres"]
    if not postgres.runs:  # the engine starts it again and again meanwhile, and it ends at once
        postgres.begin()
    postgres.wait()


@contextmanager
def clock_jumps(stack: Stack, seconds: int) -> Iterator[None]:
    """That of PostgreSQL alone, and back when it is left. Programs in Go and Redis do not take the library."""
    assert stack.clock is not None
    stack.clock.jump(seconds)
    until(lambda: abs(_ahead(stack) - seconds) < _EXACT, "PostgreSQL to see another time")
    yield
    stack.clock.jump(0)
    until(lambda: abs(_ahead(stack)) < _EXACT, "PostgreSQL to see the true time")


def _ahead(stack: Stack) -> float:
    """By how many seconds PostgreSQL's clock is before ours."""
    login = Login(stack.at["postgres"], "postgres", stack.password("postgres-password"))
    return float(query(login, "postgres", "SELECT extract(epoch FROM clock_timestamp())")) - time.time()


_EXACT = 30.0  # s
Way = Callable[..., contextlib.AbstractContextManager[Any]]
WAYS: dict[str, Way] = {way.__name__: way for way in (gone, worker_killed, certificate_expired, disk_full, clock_jumps)}
