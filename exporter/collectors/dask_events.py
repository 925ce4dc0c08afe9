"""Counters from the events a Dask scheduler keeps: workers that came and went, and why.

What the versions tell: `lost-computed-tasks` since 2024.3.0, `worker-restart-memory` since 2024.4.2, `expected`
since 2024.6.0, `worker-ttl-timed-out` since 2024.8.0. Before `expected`, the worker's own topic tells whether the
scheduler retired it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.collectors.dask_windows import Event
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, counter, number

Version = tuple[int, int, int]
ALL, MEMORY_RESTARTS, SCHEDULER = "all", "worker-restart-memory", "scheduler"
TOPIC_SINCE: Mapping[str, Version] = {ALL: (0, 0, 0), MEMORY_RESTARTS: (2024, 4, 2), SCHEDULER: (2024, 8, 0)}
LOST_RESULTS_SINCE: Version = (2024, 3, 0)
MOST_EVENTS = 300_000  # three times the largest window Dask ever kept by itself; a real event is 100 bytes
EXPECTED = ("true", "false", "unknown")
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")


@dataclass(slots=True)
class Removal:
    """A worker that left: what the scheduler said."""

    address: str
    at: float
    expected: bool | None  # None: this version does not say
    processing: int
    lost_computed: int | None
    lost_scattered: int | None


@dataclass(slots=True)
class Tally:
    """What one look, or all looks together, counted."""

    additions: int = 0
    removals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EXPECTED, 0))
    processing: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EXPECTED, 0))
    lost_computed: int = 0
    lost_scattered: int = 0
    memory_restarts: int = 0
    heartbeat_timeouts: int = 0
    overflows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOPIC_SINCE, 0))

    def remove(self, removal: Removal) -> None:
        """Count one worker that left."""
        label = "unknown" if removal.expected is None else str(removal.expected).lower()
        self.removals[label] += 1
        self.processing[label] += removal.processing
        self.lost_computed += removal.lost_computed or 0
        self.lost_scattered += removal.lost_scattered or 0

    def add(self, other: Tally) -> None:
        """Take over what one look counted."""
        self.additions += other.additions
        self.lost_computed += other.lost_computed
        self.lost_scattered += other.lost_scattered
        self.memory_restarts += other.memory_restarts
        self.heartbeat_timeouts += other.heartbeat_timeouts
        for mine, theirs in (
            (self.removals, other.removals),
            (self.processing, other.processing),
            (self.overflows, other.overflows),
        ):
            for key, count in theirs.items():
                mine[key] += count

    def families(self, version: Version | None) -> list[Family]:
        """The counters; those that this version of Dask does not tell of are left out."""
        additions = counter("dask_cluster_worker_additions", "Workers that joined, restarted ones included.")
        additions.add(self.additions)
        removals = counter(
            "dask_cluster_worker_removals",
            'Workers that left; expected="true" when the scheduler retired them, "false" when they died, were lost or'
            ' were stopped without being retired, "unknown" when this version of Dask no longer tells.',
        )
        processing = counter(
            "dask_cluster_worker_removal_processing_tasks",
            "Tasks that were with a worker when it left, and start anew elsewhere.",
        )
        for expected in EXPECTED:
            removals.add(self.removals[expected], Labels(expected=expected))
            processing.add(self.processing[expected], Labels(expected=expected))
        overflows = counter(
            "dask_cluster_event_window_overflows",
            "Times the scheduler's event window ran over between two looks, so that the counters of workers that"
            " came and went may have missed some; look more often, or raise distributed.admin.low-level-log-length."
            ' Heartbeat time-outs alone are counted from topic="scheduler", which every submission of a client fills.',
        )
        for topic in topics(version):
            overflows.add(self.overflows[topic], Labels(topic=topic))
        return [additions, removals, processing, *self._versioned(version), overflows]

    def _versioned(self, version: Version | None) -> list[Family]:
        lost = counter(
            "dask_cluster_worker_removal_lost_results",
            'Task results that were lost with a worker: kind="computed" ones are computed again, "scattered" ones are'
            " gone. Told by Dask 2024.3 and later.",
        )
        restarts = counter(
            "dask_cluster_worker_memory_restarts",
            "Workers their nanny restarted because they used too much memory. Told by Dask 2024.4.2 and later.",
        )
        timeouts = counter(
            "dask_cluster_worker_heartbeat_timeouts",
            "Workers the scheduler gave up because their heartbeat stopped. Told by Dask 2024.8 and later.",
        )
        if since(version, LOST_RESULTS_SINCE):
            lost.add(self.lost_computed, Labels(kind="computed"))
            lost.add(self.lost_scattered, Labels(kind="scattered"))
        if since(version, TOPIC_SINCE[MEMORY_RESTARTS]):
            restarts.add(self.memory_restarts)
        if since(version, TOPIC_SINCE[SCHEDULER]):
            timeouts.add(self.heartbeat_timeouts)
        return [lost, restarts, timeouts]


def topics(version: Version | None) -> list[str]:
    """The topics that this version of Dask fills and that we count from."""
    return [topic for topic, first in TOPIC_SINCE.items() if topic == ALL or since(version, first)]


def since(version: Version | None, first: Version) -> bool:
    """Whether `version` is known and not older than `first`."""
    return version is not None and version >= first


def parse_version(text: object) -> Version | None:
    """The three numbers of a Dask version such as `2024.2.1` or `2024.2.1+5.g1234567`."""
    match = _VERSION.match(text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def decode_events(reply: Any) -> list[Event]:
    """The reply of `events` for one topic. Raises CollectError when it is anything else."""
    if not isinstance(reply, Sequence) or isinstance(reply, str | bytes):
        raise CollectError(Reason.SHAPE, "the scheduler's `events` are not a list; is it a Dask scheduler?")
    if len(reply) > MOST_EVENTS:
        raise CollectError(
            Reason.TOO_LARGE,
            f"the scheduler keeps {len(reply)} events; at most {MOST_EVENTS} are read: lower"
            " distributed.admin.low-level-log-length there",
        )
    events: list[Event] = []
    for pair in reply:
        at = number(pair[0]) if isinstance(pair, Sequence) and len(pair) == 2 else None  # noqa: PLR2004 -- a pair
        if at is None:
            raise CollectError(Reason.SHAPE, "the scheduler's `events` are not pairs of time and message")
        events.append((at, pair[1]))
    return events


def count(topic: str, events: Sequence[Event], tally: Tally) -> list[Removal]:
    """Count a topic's new events in `tally`, except removals, which are returned to be completed."""
    removals = []
    for at, message in events:
        if topic == MEMORY_RESTARTS:
            tally.memory_restarts += 1
        elif not isinstance(message, Mapping):
            continue
        elif topic == SCHEDULER:
            if message.get("action") == "worker-ttl-timed-out":
                tally.heartbeat_timeouts += _size(message.get("workers")) or 0
        elif message.get("action") == "add-worker":
            tally.additions += 1
        elif message.get("action") == "remove-worker":
            removals.append(_removal(at, message))
    return removals


def was_retired(events: Sequence[Event], at: float) -> bool | None:
    """Whether the scheduler was retiring the worker when it left at `at`, from the worker's own topic.

    The scheduler writes the removal there just before it writes it to `all`. None when it is no longer there.
    """
    retiring: bool | None = None
    answer: bool | None = None
    for when, message in events:
        action = message.get("action") if isinstance(message, Mapping) else None
        if action == "add-worker":
            retiring = False
        elif action == "worker-status-change":
            status = message.get("status")
            retiring = status == "closing_gracefully" or (bool(retiring) and status not in ("running", "paused"))
        elif action == "remove-worker":
            if when <= at:
                answer = bool(retiring)
            retiring = False
    return answer


def _removal(at: float, message: Mapping[Any, Any]) -> Removal:
    expected = message.get("expected")
    address = message.get("worker")
    return Removal(
        address=address if isinstance(address, str) else "",
        at=at,
        expected=expected if isinstance(expected, bool) else None,
        processing=_size(message.get("processing-tasks")) or 0,
        lost_computed=_size(message.get("lost-computed-tasks")),
        lost_scattered=_size(message.get("lost-scattered-tasks")),
    )


def _size(value: object) -> int | None:
    return len(value) if isinstance(value, Sequence | Mapping) and not isinstance(value, str | bytes) else None
