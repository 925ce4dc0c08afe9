"""What a running stack leaves in its state folder for `status`, `down` and the next `up`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from compose.native.places import State
from compose.native.service import Condition

_START_SLACK = 2.0  # s by which two readings of a process's start may differ


@dataclass(slots=True)
class ServiceRecord:
    """A service as last seen by the supervisor."""

    name: str
    state: Condition
    url: str | None = None
    pid: int | None = None
    started: float | None = None
    detail: str = ""
    restarts: int = 0


@dataclass(slots=True)
class TargetRecord:
    """A configured target; `optional` ones are looked for by the demo and need not be there."""

    name: str
    system: str
    optional: bool = False


@dataclass(slots=True)
class Record:
    """The whole of `run/status.json`."""

    config: str = ""
    demo: bool = False
    services: list[ServiceRecord] = field(default_factory=list)
    targets: list[TargetRecord] = field(default_factory=list)

    def service(self, name: str) -> ServiceRecord | None:
        """The service of that name."""
        return next((one for one in self.services if one.name == name), None)


def write(state: State, record: Record) -> None:
    """Replaces the record in one step, so that no reader sees half of it."""
    partial = state.status.with_name(".status.new")
    partial.write_text(json.dumps(asdict(record), indent=1))
    partial.replace(state.status)


def read(state: State) -> Record:
    """The last record; an empty one when there is none that can be read."""
    try:
        data = json.loads(state.status.read_text())
        return Record(
            config=data["config"],
            demo=data["demo"],
            services=[_service(one) for one in data["services"]],
            targets=[TargetRecord(**one) for one in data["targets"]],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Record()


def _service(data: dict[str, Any]) -> ServiceRecord:
    return ServiceRecord(**{**data, "state": Condition(data["state"])})


@contextlib.contextmanager
def supervising(state: State) -> Iterator[bool]:
    """Holds the state folder's lock; gives False when a running supervisor has it.

    The kernel lets go of it when its holder dies, however it dies: there is no stale lock.
    """
    descriptor = os.open(state.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(10):  # a `status` that looks at this moment holds it for microseconds
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.05)
        else:
            yield False
            return
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield True
    finally:
        os.close(descriptor)


def supervisor(state: State) -> int | None:
    """The process id of the running supervisor of this state folder; None when none runs."""
    try:
        descriptor = os.open(state.lock, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 32, 0)
        return int(said) if said.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)


def end_leftovers(state: State) -> list[str]:
    """Kills services that outlived a killed supervisor, and says which; only where the kernel cannot do it for us."""
    ended = []
    for service in read(state).services:
        if service.pid is None or service.started is None:
            continue
        try:
            process = psutil.Process(service.pid)
            same = abs(process.create_time() - service.started) < _START_SLACK
        except psutil.Error:
            continue
        if same:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(service.pid, signal.SIGKILL)
                ended.append(service.name)
    return ended
