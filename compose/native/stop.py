"""Ends a running stack from outside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil

from compose.native import record
from compose.native.places import State, shown
from compose.native.stack import PROXY_GRACE

_PATIENCE = PROXY_GRACE + 4.0  # s; more than the longest grace
_PAUSE = 0.1  # s


def down(state: State, say: Callable[[str], None]) -> int:
    """Stops the supervisor and with it every service; returns the exit code."""
    pid = record.supervisor(state)
    if pid is not None:
        _ask_to_end(state, pid, say)
    leftovers = record.end_leftovers(state)
    state.status.unlink(missing_ok=True)
    if leftovers:
        say(f"Ended what a killed supervisor had left: {', '.join(leftovers)}.")
    elif pid is None:
        say(f"Nothing runs with state in {shown(state.root)}.")
    else:
        say("Everything is stopped.")
    return 0


def _ask_to_end(state: State, pid: int, say: Callable[[str], None]) -> None:
    say("Stopping ...")
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _PATIENCE
    while record.supervisor(state) == pid:
        if time.monotonic() > until:
            say(f"The supervisor (process {pid}) does not end by itself and is killed.")
            os.kill(pid, signal.SIGKILL)
            until = time.monotonic() + _PATIENCE
        time.sleep(_PAUSE)
    # It let go of the folder as its last act; the process itself takes a moment more.
    while _alive(pid) and time.monotonic() < until:
        time.sleep(_PAUSE)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
