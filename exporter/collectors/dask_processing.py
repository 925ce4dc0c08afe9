"""How long tasks have been with their worker, from the scheduler's `processing`.

The scheduler tells which tasks it has given to which worker, not since when, so the age counts from the first look
that saw the task there: a lower bound. `processing` includes tasks that wait in the worker's own queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.collectors.dask_series import quantile_family
from exporter.collectors.dask_workers import MOST_WORKERS, Worker
from exporter.errors import CollectError, Reason
from exporter.families import Family, gauge

_LOWER_BOUND = (
    "A lower bound: it counts from the first scrape that saw the task there, and `processing` in a Dask scheduler"
    " includes tasks that wait in the worker's queue."
)


_LONGEST_KEY = 1_000  # parts of a key and characters in them, all together; Dask's own have a handful

Since = dict[str, dict[str, float]]  # by worker's address and task, monotonic seconds


class ProcessingAges:
    """Remembers when each task was first seen with its worker."""

    def __init__(self) -> None:
        self._since: Since = {}

    def forget(self) -> None:
        """Start over: another scheduler gave the tasks anew."""
        self._since = {}

    def look(self, reply: Any, now: float) -> Since:
        """What the reply of `processing` seen at `now` (monotonic seconds) tells, to be kept. Raises CollectError."""
        if not isinstance(reply, Mapping):
            raise CollectError(Reason.SHAPE, "the scheduler's `processing` is not a mapping; is it a Dask scheduler?")
        if len(reply) > MOST_WORKERS:
            what = f"the scheduler's `processing` tells of {len(reply)} workers; at most {MOST_WORKERS} are read"
            raise CollectError(Reason.TOO_LARGE, what)
        seen: Since = {}
        for address, keys in reply.items():
            if isinstance(address, str) and isinstance(keys, tuple | list):
                before = self._since.get(address, {})
                seen[address] = {name: before.get(name, now) for key in keys if (name := _name(key)) is not None}
        return seen

    def keep(self, seen: Since) -> None:
        """Compare the next look with this one."""
        self._since = seen

    def families(self, workers: Sequence[Worker], now: float, *, per_worker: bool) -> list[Family]:
        """Counts and ages: totals and quantiles always, each worker's when wanted."""
        held = [self._since.get(worker.address) for worker in workers]
        ages = [None if keys is None else _oldest(keys, now) for keys in held]
        total = gauge(
            "dask_cluster_processing_tasks",
            "Tasks the scheduler has given to workers, the ones that wait in a worker's queue included.",
        )
        total.add(sum(len(keys) for keys in self._since.values()))
        oldest = gauge(
            "dask_cluster_oldest_processing_task_seconds", f"Age of the oldest task given to any worker. {_LOWER_BOUND}"
        )
        oldest.add(max((age for age in ages if age is not None), default=0.0))
        families = [
            total,
            oldest,
            quantile_family(
                "dask_cluster_worker_oldest_processing_task_seconds_quantile",
                f"Quantiles over the workers of the age of their oldest task. {_LOWER_BOUND}",
                ages,
            ),
        ]
        if per_worker:
            tasks = gauge(
                "dask_cluster_worker_processing_tasks",
                "Tasks the scheduler has given to the worker, the ones that wait in its queue included.",
            )
            age = gauge(
                "dask_cluster_worker_oldest_processing_task_seconds",
                f"Age of the worker's oldest task, 0 when it has none. {_LOWER_BOUND}",
            )
            for worker, keys, seconds in zip(workers, held, ages, strict=True):
                tasks.add(None if keys is None else len(keys), worker.labels.base)
                age.add(seconds, worker.labels.base)
            families += [tasks, age]
        return families


def _oldest(keys: Mapping[str, float], now: float) -> float:
    return max(0.0, now - min(keys.values())) if keys else 0.0


def _name(key: object) -> str | None:
    """Task keys are strings, or tuples of plain values; anything else was not sent by Dask.

    As text, because tuples of numbers can be chosen so that a dictionary of them takes days.
    """
    if isinstance(key, str):
        return key
    return repr(key) if isinstance(key, tuple | bytes | int | float) and _is_short(key) else None


def _is_short(key: object) -> bool:
    """Whether writing it costs little; a tuple of millions takes seconds."""
    parts = [key]
    length = 0
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            return False
        if isinstance(part, tuple | list | bytes | str):
            length += len(part)
            if length > _LONGEST_KEY:
                return False
            if not isinstance(part, bytes | str):
                parts.extend(part)
    return True
