"""What is new in a Dask scheduler's event topics since the last look.

The scheduler keeps the last events of each topic (1,000 now, 100,000 in 2022.12; setting
distributed.admin.low-level-log-length) as pairs of time and message (distributed/broker.py, scheduler.py). Each
look compares the window with the one before: what was added is counted, once. A window that no longer holds
anything of the one before has overflowed; what lies between is lost, and said so in a counter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

Event = tuple[float, Any]  # seconds by the scheduler's clock, message
# Lengths of a full window as Dask sets them; only needed when the window before was empty.
MOST_BEGINNINGS = 64  # places where the old window may go on in the new one; real times are all but unique
DEFAULT_WINDOWS = frozenset({1_000, 10_000, 100_000})


class Window:
    """What a topic held at the last look."""

    def __init__(self, stamps: Sequence[float] | None = None) -> None:
        self._stamps = None if stamps is None else tuple(stamps)  # None: never looked, the past is not ours

    def news(self, events: Sequence[Event]) -> tuple[Sequence[Event], bool, Window]:
        """The events since the last look, whether some may have been missed, and the window to compare with next.

        A window only grows at its end and shrinks at its start, so the old one without its first k events must be
        the start of the new one. Times may be equal, or step back with the scheduler's clock.
        """
        stamps = tuple(at for at, _ in events)
        following = Window(stamps)
        old = self._stamps
        if old is None:
            return (), False, following
        if not old:
            return events, len(events) in DEFAULT_WINDOWS, following
        tried = 0
        for gone in range(max(0, len(old) - len(stamps)), len(old)):
            if old[gone] != stamps[0]:
                continue
            kept = len(old) - gone
            if old[gone:] == stamps[:kept]:
                return events[kept:], False, following
            tried += 1
            if tried == MOST_BEGINNINGS:  # comparing on would take the square of the window's length
                return (), True, following
        return events, bool(events), following

    def __len__(self) -> int:
        return len(self._stamps or ())


class Windows:
    """The event windows of the scheduler that answered last."""

    def __init__(self) -> None:
        self._scheduler_id: str | None = None
        self._started: float | None = None
        self._windows: Mapping[str, Window] = {}

    def largest(self) -> int:
        """Events in the largest window at the last look."""
        return max(map(len, self._windows.values()), default=0)

    def before(self, scheduler_id: str, started: float | None, first_answer: float | None) -> defaultdict[str, Window]:
        """The windows to compare with, as a copy, so that a look that fails half-way changes nothing.

        A scheduler that was restarted under our eyes (it `started` after the one we knew and after the target's
        `first_answer`, seconds since the epoch) has no past but the one we want to count: its windows start empty.
        Another one that was there before us has a past that is not ours.
        """
        if scheduler_id == self._scheduler_id:
            return defaultdict(Window, self._windows)
        if started is None or self._started is None or first_answer is None:
            return defaultdict(Window)
        restarted = started > max(self._started, first_answer)
        return defaultdict(lambda: Window(())) if restarted else defaultdict(Window)

    def commit(self, scheduler_id: str, started: float | None, windows: Mapping[str, Window]) -> None:
        """Remember a look that went well."""
        self._scheduler_id, self._started, self._windows = scheduler_id, started, dict(windows)
