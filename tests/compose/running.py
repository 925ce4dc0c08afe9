"""Runs a fake stack in a process of its own and waits for what it does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

from compose.native import record
from compose.native.places import State
from compose.native.record import ServiceRecord
from compose.native.service import Condition

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def until(look: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """The first true result of `look`."""
    end = time.monotonic() + seconds
    while True:
        result = look()
        if result:
            return result
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Stack:
    """A supervisor with fake services."""

    def __init__(self, state: State, plan: dict[str, list[object]]) -> None:
        self.state = state
        command = [sys.executable, "-m", "tests.compose.fake_stack", str(state.root), json.dumps(plan)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def service(self, name: str) -> ServiceRecord:
        found = record.read(self.state).service(name)
        return found or ServiceRecord(name, Condition.STARTING)

    def running(self, name: str, not_pid: int | None = None) -> int:
        """The service's pid, once it answers."""

        def look() -> int | None:
            service = self.service(name)
            good = service.state is Condition.RUNNING and service.pid != not_pid
            return service.pid if good else None

        return until(look, f"{name} answers") or 0

    def said(self, text: str) -> str:
        """Everything the supervisor has said, once it contains `text`."""
        log = self.state.logs / "supervisor.log"
        return until(lambda: text in (words := _read(log)) and words, f"{text!r} in {_read(log)!r}") or ""

    def ended(self, seconds: float = 10.0) -> tuple[int, str]:
        """Exit code and output, once it has ended."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def stack(state: State, plan: dict[str, list[object]]) -> Iterator[Stack]:
    made = Stack(state, plan)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.communicate()
        if record.supervisor(state) is None:  # else they are those of another one with the same folder
            record.end_leftovers(state)
