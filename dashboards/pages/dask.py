"""Dask cluster: does the work flow?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Page, Query, above, colors, heading, plain, row, stat, timeseries, to_page
from dashboards.pages import blind
from dashboards.pages.common import of_system, restarts_and_alerts, state_tile, version_tile

_SELECTED = 'target=~"$dask"'
_NO_DASK = "unknown"
_NO_PAGE = "scheduler has no /metrics: install prometheus_client where it runs"
_SLOW = "15s"


def page(limits: Mapping[str, float]) -> Page:
    """From the scheduler's view: tasks, time, memory, clients."""
    return Page(
        uid="dask",
        title="Dask cluster",
        question="Does the work flow through this Dask cluster, and if not, where does it wait?",
        variables=[of_system("dask")],
        rows=[
            row(4, *_tiles(limits)),
            row(8, _states(), _finished()),
            row(8, _time(), _compute(), _memory()),
            heading("How is the cluster itself?", "Its workers, its scheduler, what was lost and what moves."),
            row(7, _workers(), _spread(limits), _loop(limits)),
            row(6, _lost_results(), _transfers(), _clients()),
            row(
                6,
                blind.parts("dask", _SELECTED, limits),
                blind.reasons("dask", _SELECTED),
                blind.took("dask", _SELECTED, limits),
            ),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    return [
        state_tile("dask", _SELECTED),
        version_tile("dask", "dask_cluster_info", _SELECTED),
        stat(
            "Running for",
            description="Time since the scheduler started. A restart forgets every task that nobody's client holds.",
            unit="s",
            queries=[Query(f"min(time() - dask_cluster_start_time_seconds{{{_SELECTED}}})")],
            levels=plain(),
            empty=_NO_DASK,
            decimals=1,
        ),
        stat(
            "Workers",
            description="Workers of all statuses. The Workers page says how each is and which were lost.",
            unit="none",
            queries=[Query(f"sum(dask_cluster_workers{{{_SELECTED}}})")],
            levels=plain(),
            empty=_NO_DASK,
            sparkline=True,
            links=[to_page("workers", "The workers")],
        ),
        stat(
            "Oldest task",
            description="Age of the oldest task at any worker; a lower bound, counted from when the exporter first "
            "saw it.",
            unit="s",
            queries=[Query(f"max(dask_cluster_oldest_processing_task_seconds{{{_SELECTED}}})")],
            levels=above(limits["dask_oldest_task_seconds"]),
            empty="no tasks",
            decimals=0,
        ),
        stat(
            "Suspicious tasks",
            description="Tasks within the hour that were with a worker when it died. One that comes again and again is "
            "what kills workers: Dask gives it up after the third.",
            unit="none",
            queries=[Query(f"sum(round(increase(dask_scheduler_tasks_suspicious_total{{{_SELECTED}}}[1h])))")],
            levels=above(1),
            empty="no /metrics",
        ),
    ]


def _states() -> Any:
    return timeseries(
        "Where are the tasks?",
        description="Tasks of the scheduler by state. waiting: for other tasks; queued and no-worker: for a worker; "
        "processing: at a worker; memory: done and kept because something needs them; erred: failed and kept.",
        unit="short",
        queries=[Query(f"sum by (state) (dask_scheduler_tasks{{{_SELECTED}}}) > 0", "{{state}}")],
        levels=plain(),
        empty="no tasks, or the scheduler has no /metrics",
        stacked=True,
        colors=colors.TASKS,
    )


def _finished() -> Any:
    return timeseries(
        "Which tasks get done?",
        description="Tasks that finished, a second, by the first word of their key. Falling with the same workers: "
        "tasks got longer, or wait for data.",
        unit="ops",
        queries=[
            Query(
                "topk(10, sum by (task_prefix_name) (rate(dask_scheduler_prefix_state_totals_total"
                f'{{state="memory", {_SELECTED}}}[$__rate_interval])) > 0)',
                "{{task_prefix_name}}",
                _SLOW,
            )
        ],
        levels=plain(),
        empty="nothing finished, or the scheduler has no /metrics",
        stacked=True,
    )


def _time() -> Any:
    return timeseries(
        "What do workers spend their time on?",
        description="Threads' time a second: computing, moving results. Much moving beside little computing: larger "
        "pieces, or fewer hosts.",
        unit="none",
        queries=[
            Query(
                f"sum(rate(dask_scheduler_tasks_compute_seconds_total{{{_SELECTED}}}[$__rate_interval]))",
                "computing",
                _SLOW,
            ),
            Query(
                f"sum(rate(dask_scheduler_tasks_transfer_seconds_total{{{_SELECTED}}}[$__rate_interval]))",
                "moving results",
                _SLOW,
            ),
            Query(f"sum(dask_cluster_threads{{{_SELECTED}}})", "threads there are"),
        ],
        levels=plain(),
        empty=_NO_DASK,
    )


def _compute() -> Any:
    return timeseries(
        "What takes the time?",
        description="Threads' time a second by the first word of the tasks' keys. The widest band is what to make "
        "faster.",
        unit="none",
        queries=[
            Query(
                "topk(10, sum by (task_prefix_name) "
                f"(rate(dask_scheduler_tasks_compute_seconds_total{{{_SELECTED}}}[$__rate_interval])) > 0)",
                "{{task_prefix_name}}",
                _SLOW,
            )
        ],
        levels=plain(),
        empty=_NO_PAGE,
        stacked=True,
    )


def _memory() -> Any:
    return timeseries(
        "What fills the memory?",
        description="Memory of all workers: task results (managed), everything else (unmanaged), and what was spilled "
        "to disk. Unmanaged that stays while nothing runs is a leak.",
        unit="bytes",
        queries=[
            Query(f"sum(dask_cluster_memory_managed_bytes{{{_SELECTED}}})", "task results"),
            Query(f"sum(dask_cluster_memory_unmanaged_bytes{{{_SELECTED}}})", "everything else"),
            Query(f"sum(dask_cluster_disk_spilled_bytes{{{_SELECTED}}})", "spilled to disk"),
        ],
        levels=plain(),
        empty=_NO_DASK,
        stacked=True,
    )


def _workers() -> Any:
    return timeseries(
        "How many workers are there?",
        description="Workers by status, and how many the scheduler would like for the work it has. Wishes far above "
        "what is there: more workers would be used.",
        unit="none",
        queries=[
            Query(f"sum by (status) (dask_cluster_workers{{{_SELECTED}}}) > 0", "{{status}}"),
            Query(f"sum(dask_scheduler_desired_workers{{{_SELECTED}}})", "wished for"),
        ],
        levels=plain(),
        empty=_NO_DASK,
    )


def _spread(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Is the memory spread well?",
        description="Memory of the fullest, the ninth of ten and the median worker, of their limits. Lines close "
        "together are good; a gap means that some hold far more than others.",
        unit="percentunit",
        queries=[
            Query(f'max(dask_cluster_worker_memory_ratio_quantile{{q="{q}", {_SELECTED}}})', name)
            for q, name in (("1", "fullest"), ("0.9", "ninth of ten"), ("0.5", "median"))
        ],
        levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
        empty="no workers with a limit",
        maximum=1,
    )


def _loop(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Does anybody block?",
        description="Longest turn of the scheduler's event loop, and the time between two turns of the slowest "
        "worker's. Seconds mean that heartbeats wait and workers will be given up as lost.",
        unit="s",
        queries=[
            Query(f"max(dask_scheduler_tick_duration_maximum_seconds{{{_SELECTED}}})", "scheduler"),
            Query(
                f'max(dask_cluster_worker_event_loop_interval_seconds_quantile{{q="1", {_SELECTED}}})', "slowest worker"
            ),
        ],
        levels=above(limits["dask_event_loop_seconds"], limits["dask_event_loop_seconds_critical"]),
        empty=_NO_DASK,
    )


def _lost_results() -> Any:
    return timeseries(
        "What was lost with workers?",
        description="Within the hour before: tasks that had to begin anew, and results that were lost. Computed ones "
        "are computed again; scattered ones are gone, and what needs them fails.",
        unit="short",
        queries=[
            Query(
                f"sum(round(increase(dask_cluster_worker_removal_processing_tasks_total{{{_SELECTED}}}[1h])))",
                "tasks begun anew",
            ),
            Query(
                f"sum by (kind) (round(increase(dask_cluster_worker_removal_lost_results_total{{{_SELECTED}}}[1h])))",
                "{{kind}} results lost",
            ),
        ],
        levels=plain(),
        empty="this Dask does not tell",
    )


def _transfers() -> Any:
    return timeseries(
        "How much moves between workers?",
        description="Bytes a second that workers send each other, all together.",
        unit="Bps",
        queries=[
            Query(f"sum by (target) (target:dask_transfer_outgoing_bytes:rate1m{{{_SELECTED}}})", "{{target}}", _SLOW)
        ],
        levels=plain(),
        empty="workers have no /metrics",
    )


def _clients() -> Any:
    return timeseries(
        "Who is connected?",
        description="Clients of the scheduler. Work without a client is forgotten; many idle ones are notebooks that "
        "keep results in memory.",
        unit="none",
        queries=[Query(f"sum by (target) (dask_scheduler_clients{{{_SELECTED}}})", "{{target}}")],
        levels=plain(),
        empty=_NO_PAGE,
    )
