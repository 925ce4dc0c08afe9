"""One service's process: started, watched, logged, started again with growing pauses, and ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from compose.native.rotating import RotatingLog, last_lines
from compose.native.service import Condition, Service

FIRST_PAUSE = 1.0  # s before the first new start; doubles with each failure
LONGEST_PAUSE = 30.0
HEALTHY_AFTER = 60.0  # s of answers that make the next failure a first one again
GRACE = 8.0  # s between the request to end and the order
_LOOK_SOON = 0.25  # s between looks until it answers
LOOK = 5.0  # s between looks afterwards
PATIENCE = 4.0  # s that an answer may take
_SHOWN = 200  # characters of a log line in a message
_MISSES = 3  # looks without answer that make a running service a failed one
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a child's life, in seconds; tests use shorter ones."""

    first_pause: float = FIRST_PAUSE
    longest_pause: float = LONGEST_PAUSE
    healthy_after: float = HEALTHY_AFTER
    grace: float = GRACE
    look: float = LOOK
    patience: float = PATIENCE


class Child:
    """Keeps one service alive until `stop`."""

    def __init__(
        self, service: Service, log: Path, http: httpx.AsyncClient, changed: Callable[[Child], None], pace: Pace
    ) -> None:
        self.service = service
        self.state = Condition.STARTING
        self.detail = ""
        """Why it is not running, in a line for people."""
        self.pid: int | None = None
        self.started: float | None = None
        """When the process started, seconds since the epoch."""
        self.settled = False
        """Whether it has once answered or once failed."""
        self.restarts = 0
        self._log_path = log
        self._http = http
        self._changed = changed
        self._pace = pace
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begins; returns at once with the task, which never ends by itself."""
        self._task = asyncio.create_task(self._keep_alive())
        return self._task

    async def stop(self) -> None:
        """Ends the process and everything it started; returns when none is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep_alive(self) -> None:
        log = RotatingLog(self._log_path)
        pause = self._pace.first_pause
        try:
            while True:
                how, healthy = await self._live(log)
                if healthy >= self._pace.healthy_after:
                    pause = self._pace.first_pause
                self._set(Condition.FAILED, f"{how}; starting again in {pause:g} s{self._last_words()}")
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._pace.longest_pause)
                self.restarts += 1
        finally:
            log.close()

    async def _live(self, log: RotatingLog) -> tuple[str, float]:
        """One life of the process: how it ended, and for how many seconds it had answered."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.service.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **self.service.environment},
                cwd="/",
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}", 0.0
        self.pid, self.started = process.pid, time.time()
        self._set(Condition.STARTING, self.detail)
        pump = asyncio.create_task(_pump(process, log))
        watch = asyncio.create_task(self._watch())
        try:
            code = await process.wait()
        finally:
            watch.cancel()
            await self._end(process)
            self.pid = self.started = None
            await _finish(pump)
            answered = await _result(watch)
        return _how(code), answered

    async def _watch(self) -> float:
        """Looks whether the service answers, until cancelled; gives the seconds since it first did."""
        first: float | None = None
        misses = 0
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                if await self._answers():
                    misses = 0
                    first = first or time.monotonic()
                    self._set(Condition.RUNNING, "")
                elif first is not None:
                    misses += 1
                    if misses == _MISSES:
                        self._set(Condition.FAILED, f"alive, but {self.service.ready} does not answer")
                await asyncio.sleep(_LOOK_SOON if first is None else self._pace.look)
        return 0.0 if first is None else time.monotonic() - first

    async def _answers(self) -> bool:
        try:
            answer = await self._http.get(
                self.service.ready, timeout=self._pace.patience, extensions=self.service.access.extensions
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Asks the process's whole group to end, then makes it."""
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            grace = self._pace.grace if self.service.grace is None else self.service.grace
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), grace)
        # Also after an orderly end: what it started and left behind holds its ports.
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()

    def _last_words(self) -> str:
        lines = [line for line in last_lines(self._log_path, 5) if line.strip()]
        return f"; last line of its log: {_plain(lines[-1])}" if lines else ""

    def _set(self, state: Condition, detail: str) -> None:
        if (state, detail) == (self.state, self.detail) and self.settled:
            return
        self.state, self.detail = state, detail
        self.settled = self.settled or state is not Condition.STARTING
        self._changed(self)


async def _pump(process: asyncio.subprocess.Process, log: RotatingLog) -> None:
    assert process.stdout is not None  # noqa: S101 -- PIPE was asked for
    while data := await process.stdout.read(65536):
        log.write(data)


async def _finish(pump: asyncio.Task[None]) -> None:
    """Lets the last output arrive; something that left the group on purpose may keep the pipe open for ever."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pump, 1.0)


async def _result(task: asyncio.Task[float]) -> float:
    try:
        return await task
    except asyncio.CancelledError:  # cancelled before its first step
        return 0.0


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left, or only zombies (macOS)
        os.killpg(pid, number)


def _die_with(parent: int) -> Callable[[], None] | None:
    """What the new process does before it becomes the service: ask to be killed when `parent` dies, however it dies.

    Linux only; elsewhere the next `up` or `down` ends what was left.
    """
    if _libc is None:
        return None
    prctl = _libc.prctl

    def ask() -> None:
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and here
            os._exit(1)

    return ask


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _plain(line: str) -> str:
    """A log line that can stand in a message: no control characters, not too long."""
    text = "".join(char if char.isprintable() else " " for char in line).strip()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
