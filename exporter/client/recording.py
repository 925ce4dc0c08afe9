"""Notes what is asked of a target during one collection, for people who look for a fault. Costs nothing otherwise.

Only the shape of a call is noted: never a body, a header or anything secret.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from exporter.errors import CollectError

MOST_CALLS = 500  # a collection of Open WebUI with hundreds of pages must not make an endless page


@dataclass(slots=True)
class Call:
    """One question to a target."""

    what: str  # method and path, or operation
    where: str  # host:port or scheduler address
    began: float  # seconds since the recording began
    seconds: float | None = None  # None while under way
    status: int | None = None
    size: int | None = None  # bytes of the answer's body
    error: str | None = None


@dataclass(slots=True)
class Recording:
    """The calls of one collection, in the order in which they began."""

    began: float = field(default_factory=time.monotonic)
    calls: list[Call] = field(default_factory=list)
    more: int = 0  # calls beyond MOST_CALLS, not noted
    closed: bool = False  # what runs on after the collection is not noted

    def note(self, call: Call) -> None:
        """Add a call that begins now."""
        if self.closed:
            return
        if len(self.calls) < MOST_CALLS:
            self.calls.append(call)
        else:
            self.more += 1


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def recorded() -> Iterator[Recording]:
    """Note all calls made from here, also by tasks started here, until the end."""
    recording = Recording()
    token = _recording.set(recording)
    try:
        yield recording
    finally:
        recording.closed = True
        _recording.reset(token)


@contextmanager
def calling(what: str, where: str) -> Iterator[Call]:
    """Around one call; the caller fills in status and size when it knows them."""
    recording = _recording.get()
    started = time.monotonic()
    call = Call(what, where, started - (recording.began if recording else started))
    if recording is None:
        yield call
        return
    recording.note(call)
    try:
        yield call
    except CollectError as error:
        call.error = f"{error.reason}: {error}"
        raise
    except (asyncio.CancelledError, TimeoutError):
        call.error = "no answer before the deadline"
        raise
    except Exception as error:
        call.error = type(error).__name__  # its text may come from anywhere
        raise
    finally:
        call.seconds = time.monotonic() - started
