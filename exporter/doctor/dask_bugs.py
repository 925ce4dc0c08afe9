"""Faults of Dask's own metrics that nothing here can mend: what not to believe, and what to use instead.

Versions: read in distributed's source at 2022.12.1, 2024.2.1 and 2026.8.0 and in its history up to 2026.7.1. None of
these is mended in any of them. B4, B6 and B7 are findings of `dask_web`, which sees whether they bite.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.collectors.dask_events import Version
from exporter.doctor.findings import Finding, Kind, info, warning

TICK_MAXIMUM = info(
    "dask-tick-maximum",
    "*_tick_duration_maximum_seconds never sees an event loop that is blocked: it is written as `tick-duration` and "
    "read as `tick_duration` (B1; since 2022.12.1).",
    "use dask_cluster_worker_event_loop_interval_seconds, or 1 / rate(dask_scheduler_tick_count_total[5m])",
)
MEDIAN = warning(
    "dask-median-is-maximum",
    "*_median_* of workers with crick installed is nearly the maximum: quantile(50) is asked where 0.5 was meant (B2; "
    "since 2.15).",
    "do not use these metrics",
)
FORGOTTEN_FALLS = info(
    "dask-forgotten-falls",
    "dask_scheduler_tasks_forgotten_total falls when a group of tasks is deleted, so rate() of it is wrong (B3; since "
    "2.15).",
    'use dask_scheduler_prefix_state_totals_total{state="forgotten"}',
)
COMPUTE_LATE = info(
    "dask-compute-late",
    "dask_scheduler_tasks_compute_seconds_total moves when a task ends, so hours of work arrive in one jump (B5, "
    "dask/distributed#7601; since 2023.1.1).",
    "use dask_cluster_worker_oldest_processing_task_seconds for tasks under way",
)
JSON_FAILS = info(
    "dask-json-fails",
    "/json/identity.json fails with status 500 while tasks run, with a traceback in the scheduler's log each time (B8; "
    "since 2023.4.0).",
    "do not poll it; this exporter asks over RPC and is not affected",
)


@dataclass(frozen=True, slots=True)
class Bug:
    """A fault and the first version that has it."""

    kind: Kind
    since: Version
    seen: str


BUGS = (
    Bug(TICK_MAXIMUM, (2022, 12, 1), "the maximum tick duration does not show a blocked event loop"),
    Bug(FORGOTTEN_FALLS, (2, 15, 0), "the counter of forgotten tasks can fall"),
    Bug(COMPUTE_LATE, (2023, 1, 1), "compute seconds are counted when a task ends"),
    Bug(JSON_FAILS, (2023, 4, 0), "/json/identity.json fails while tasks run"),
)
NEWEST_READ: Version = (2026, 8, 0)


async def check(text: str, version: Version | None, base: str | None) -> list[Finding]:
    """The faults that this version has; none when the scheduler serves no HTTP. An unknown version has all."""
    if base is None:
        return []
    newer = " (newer than what was looked at; it may be mended)" if version and version > NEWEST_READ else ""
    named = f"distributed {text}" if text else "this version"
    return [bug.kind.found(f"{named}{newer}: {bug.seen}") for bug in BUGS if version is None or version >= bug.since]
