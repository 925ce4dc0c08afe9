"""The series of Dask workers: each worker's own, and totals and quantiles over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from exporter.collectors.dask_workers import TASK_STATES, Worker
from exporter.families import Family, Labels, amount, counter, gauge, number

_Value = Callable[[Worker], float | None]
ALWAYS_SHOWN_STATUSES = ("running", "paused", "closing_gracefully")
QUANTILES = (0.5, 0.9, 0.99, 1.0)
DIRECTIONS = ("incoming", "outgoing")
_TRANSFER_KEYS = tuple(f"{way}_{what}" for way in DIRECTIONS for what in ("bytes", "count", "count_total"))


def worker_families(workers: Sequence[Worker]) -> list[Family]:
    """The series of each worker."""
    bases = [worker.labels.base for worker in workers]
    families = [_per_worker(workers, bases, name, help, value) for name, help, value in _GAUGES]
    info = gauge("dask_cluster_worker_info", "Always 1; the address under which the scheduler knows this worker.")
    status = gauge(
        "dask_cluster_worker_status",
        "1 for the status the worker has now; paused workers start no tasks because their memory is short.",
    )
    tasks = gauge("dask_cluster_worker_tasks", "Tasks on the worker by the state the worker itself gives them.")
    moving = gauge("dask_cluster_worker_transfer_bytes", "Bytes of task results that are being moved right now.")
    active = gauge("dask_cluster_worker_transfers_active", "Moves of task results that are under way right now.")
    moved = counter("dask_cluster_worker_transfers", "Moves of task results since the worker started.")
    info.samples = [(worker.labels.address[worker.address], 1.0) for worker in workers]
    status.samples = [(worker.labels.status[worker.status], 1.0) for worker in workers]
    tasks.samples = [
        (worker.labels.state[state], count) for worker in workers for state, count in (worker.tasks or {}).items()
    ]
    directed = [(worker.labels.direction[way], worker.transfer, way) for worker in workers for way in DIRECTIONS]
    for family, what in ((moving, "bytes"), (active, "count"), (moved, "count_total")):
        keys = {way: f"{way}_{what}" for way in DIRECTIONS}
        family.samples = [
            (labels, value)
            for labels, transfer, way in directed
            if (value := amount(transfer.get(keys[way]))) is not None
        ]
    return [info, status, *families, tasks, moving, active, moved]


def count_worker_series(workers: Sequence[Worker], limit: int) -> int:
    """How many series `worker_families` would give, without making them: ten thousand workers have 300,000.

    Exact only where it is near `limit` or above: what would fit anyway is not worth the counting.
    """
    count = 2 * len(workers) + sum([len(worker.tasks or ()) for worker in workers])  # with info and status
    most = count + (len(_GAUGES) + len(_TRANSFER_KEYS)) * len(workers)
    if most <= limit:
        return most
    for worker in workers:
        count += sum([value(worker) is not None for _, _, value in _GAUGES])
        count += sum([amount(worker.transfer.get(key)) is not None for key in _TRANSFER_KEYS])
    return count


def total_families(workers: Sequence[Worker]) -> list[Family]:
    """Totals and quantiles over all workers: enough for a large fleet, and cheap for a small one."""
    by_status = gauge(
        "dask_cluster_workers", "Workers by status; paused ones start no tasks because their memory is short."
    )
    counts = dict.fromkeys(ALWAYS_SHOWN_STATUSES, 0)
    for worker in workers:
        counts[worker.status] = counts.get(worker.status, 0) + 1
    for status, count in sorted(counts.items()):
        by_status.add(count, Labels(status=status))
    families = [by_status]
    for name, help, value in _TOTALS:
        family = gauge(name, help)
        known = [amount for amount in map(value, workers) if amount is not None]
        if known or not workers:
            family.add(_sum(known))
        families.append(family)
    families.append(_task_totals(workers))
    families.extend(quantile_family(name, help, map(value, workers)) for name, help, value in _QUANTILE_SOURCES)
    return families


def quantile_family(name: str, help: str, values: Iterable[float | None]) -> Family:
    """Quantiles (nearest rank) of the known values; label `q` because `quantile` is reserved for summaries."""
    family = gauge(name, help)
    known = sorted(value for value in values if value is not None)
    for q in QUANTILES if known else ():
        family.add(known[math.ceil(q * len(known)) - 1], Labels(q=f"{q:g}"))
    return family


def _per_worker(workers: Sequence[Worker], bases: Sequence[Labels], name: str, help: str, value: _Value) -> Family:
    known = zip(bases, map(value, workers), strict=True)
    return Family(name, "gauge", help, [(labels, found) for labels, found in known if found is not None])


def _task_totals(workers: Sequence[Worker]) -> Family:
    family = gauge("dask_cluster_tasks", "Tasks on all workers together, by the state the workers give them.")
    totals: dict[str, float] = {} if workers else dict.fromkeys(TASK_STATES, 0.0)
    for worker in workers:
        for state, count in (worker.tasks or {}).items():
            totals[state] = totals.get(state, 0.0) + count
    for state, count in totals.items():
        family.add(number(count), Labels(state=state))
    return family


def _sum(known: Sequence[float]) -> float | None:
    """None when one worker tells of numbers so large that there is no sum: the others' series must not go with it."""
    try:
        return math.fsum(known)
    except OverflowError:
        return None


def _memory_ratio(worker: Worker) -> float | None:
    if worker.rss is None or worker.memory_limit is None:
        return None
    return number(worker.rss / worker.memory_limit)


_Row = tuple[str, str, _Value]
_GAUGES: tuple[_Row, ...] = (
    (
        "dask_cluster_worker_nanny_present",
        "1 when a nanny watches the worker and restarts it, 0 when none does.",
        attrgetter("nanny"),
    ),
    ("dask_cluster_worker_threads", "Threads that run tasks.", attrgetter("threads")),
    (
        "dask_cluster_worker_memory_limit_bytes",
        "Memory the worker may use; absent when unlimited.",
        attrgetter("memory_limit"),
    ),
    (
        "dask_cluster_worker_memory_rss_bytes",
        "Memory of the worker's process as the system sees it.",
        attrgetter("rss"),
    ),
    (
        "dask_cluster_worker_memory_managed_bytes",
        "Size of the task results the worker holds in memory.",
        attrgetter("managed"),
    ),
    (
        "dask_cluster_worker_memory_unmanaged_bytes",
        "Memory of the process that is no task result: code, leaks, what running tasks use.",
        attrgetter("unmanaged"),
    ),
    (
        "dask_cluster_worker_memory_spilled_bytes",
        "Size in memory that spilled task results would have.",
        attrgetter("spilled_memory"),
    ),
    (
        "dask_cluster_worker_disk_spilled_bytes",
        "Size on disk of the task results that were spilled.",
        attrgetter("spilled_disk"),
    ),
    ("dask_cluster_worker_cpu_ratio", "CPU the worker's process uses; 1 is one core fully busy.", attrgetter("cpu")),
    ("dask_cluster_worker_open_fds", "File descriptors the worker's process has open.", attrgetter("open_fds")),
    (
        "dask_cluster_worker_event_loop_interval_seconds",
        "Time between two turns of the worker's event loop; 0.02 when it is free, more when something blocks it.",
        attrgetter("event_loop_interval"),
    ),
    (
        "dask_cluster_worker_last_seen_timestamp_seconds",
        "When the scheduler last heard from the worker, by the scheduler's clock.",
        attrgetter("last_seen"),
    ),
)
_TOTALS: tuple[_Row, ...] = (
    ("dask_cluster_threads", "Threads that run tasks, on all workers.", attrgetter("threads")),
    (
        "dask_cluster_memory_limit_bytes",
        "Sum of the memory limits of the workers that have one.",
        attrgetter("memory_limit"),
    ),
    ("dask_cluster_memory_rss_bytes", "Memory of all workers' processes as the system sees it.", attrgetter("rss")),
    (
        "dask_cluster_memory_managed_bytes",
        "Size of the task results all workers hold in memory.",
        attrgetter("managed"),
    ),
    (
        "dask_cluster_memory_unmanaged_bytes",
        "Memory of all workers' processes that is no task result.",
        attrgetter("unmanaged"),
    ),
    (
        "dask_cluster_memory_spilled_bytes",
        "Size in memory that the spilled task results of all workers would have.",
        attrgetter("spilled_memory"),
    ),
    (
        "dask_cluster_disk_spilled_bytes",
        "Size on disk of the task results that all workers spilled.",
        attrgetter("spilled_disk"),
    ),
    ("dask_cluster_cpu_ratio", "CPU that all workers' processes use; 1 is one core fully busy.", attrgetter("cpu")),
)
_QUANTILE_SOURCES: tuple[_Row, ...] = (
    (
        "dask_cluster_worker_memory_ratio_quantile",
        'Quantiles over the workers of their memory (RSS) as a share of their limit; q="1" is the fullest worker.',
        _memory_ratio,
    ),
    (
        "dask_cluster_worker_cpu_ratio_quantile",
        "Quantiles over the workers of the CPU they use, in cores.",
        attrgetter("cpu"),
    ),
    (
        "dask_cluster_worker_event_loop_interval_seconds_quantile",
        "Quantiles over the workers of the time between two turns of their event loop.",
        attrgetter("event_loop_interval"),
    ),
)
