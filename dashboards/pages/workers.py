"""Workers: who does the work, and who is in trouble?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Column, Page, Query, above, cell, choice, heading, plain, row, stat, table, to_page
from dashboards.kit.house import AMBER, GREEN
from dashboards.pages import work
from dashboards.pages.common import of_system, restarts_and_alerts
from dashboards.pages.work import BY, CLUSTER, WORKER

_GIVEN = f"dask_cluster_worker_processing_tasks{{{CLUSTER}}}"
_IDLE = f"{_GIVEN} == 0"
_LISTED = 100


def page(limits: Mapping[str, float]) -> Page:
    """Tiles, the table of workers, then what the tasks and the workers went through."""
    return Page(
        uid="workers",
        title="Workers",
        question="Who does the work, and who is in trouble? Sort the table by any column; a worker's name leads to its "
        "own page.",
        variables=[of_system("dask"), _hosts()],
        rows=[
            row(4, *_there(limits)),
            row(4, *_at_work(limits)),
            row(12, _workers(limits)),
            heading("What did they go through?", "Tasks first, then memory and what moves, then who is blocked."),
            row(7, work.finished(), work.errors(limits), work.lost()),
            row(7, work.fullest(limits), work.spilled(), work.moved()),
            row(7, work.scheduler_loop(limits), work.worker_loops(limits), work.oldest(limits)),
        ],
        annotations=restarts_and_alerts(),
    )


def _hosts() -> dict[str, Any]:
    return choice("host", "Host", f"label_values(dask_cluster_worker_info{{{CLUSTER}}}, host)")


def _there(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "Running",
            description="Workers that take tasks. Fewer than you started: look at `Lost within an hour` and the hosts.",
            unit="none",
            queries=[Query(f'sum(dask_cluster_workers{{status="running", {CLUSTER}}})')],
            levels=plain(GREEN),
            empty="unknown",
            sparkline=True,
        ),
        stat(
            "Paused",
            description="Workers that start no tasks because their memory is short. 0 is good; a paused worker frees "
            "itself when results are spilled, moved or released, or is restarted at 95 % of its limit.",
            unit="none",
            queries=[Query(f'sum(dask_cluster_workers{{status="paused", {CLUSTER}}})')],
            levels=above(1, worst=AMBER),
            empty="unknown",
        ),
        stat(
            "Lost within an hour",
            description="Workers that left within the hour without being retired: killed, crashed or cut off. Their "
            "tasks began anew elsewhere. Look at their hosts' memory and at the nanny's log.",
            unit="none",
            queries=[
                Query(f'sum(round(increase(dask_cluster_worker_removals_total{{expected!="true", {CLUSTER}}}[1h])))')
            ],
            levels=above(limits["dask_workers_lost_per_hour"], limits["dask_workers_lost_per_hour_critical"]),
            empty="unknown",
        ),
        stat(
            "Idle workers",
            description="Running workers without a task, by the clusters' worker series. Many for long: let the "
            "cluster scale down; few while tasks wait: look at `Unassigned tasks`.",
            unit="none",
            queries=[Query(f"count({_IDLE}) or count({_GIVEN}) * 0")],
            levels=plain(),
            empty="unknown",
        ),
    ]


def _at_work(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "Busy threads",
            description="Threads that run a task now, as a share of all. Near 100 %: more workers would help. Low with "
            "tasks waiting: they wait for data or memory, and more workers would not help.",
            unit="percentunit",
            queries=[
                Query(
                    f'sum(dask_cluster_tasks{{state="executing", {CLUSTER}}}) / sum(dask_cluster_threads{{{CLUSTER}}})'
                )
            ],
            levels=plain(),
            empty="no workers",
            decimals=0,
            sparkline=True,
        ),
        stat(
            "Memory",
            description="Memory of all workers as a share of their limits together. One worker may be full while this "
            "is low: the table shows each.",
            unit="percentunit",
            queries=[
                Query(
                    f"sum(dask_cluster_memory_rss_bytes{{{CLUSTER}}})"
                    f" / sum(dask_cluster_memory_limit_bytes{{{CLUSTER}}})"
                )
            ],
            levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
            empty="no limits set",
            decimals=0,
            sparkline=True,
        ),
        stat(
            "Unassigned tasks",
            description="Tasks that the scheduler holds back because no worker can take them yet (queued, no-worker). "
            "no-worker for long means that no worker has the resources a task asks for.",
            unit="short",
            queries=[Query(f'sum(dask_scheduler_tasks{{state=~"queued|no-worker", {CLUSTER}}})')],
            levels=plain(),
            empty="scheduler has no /metrics",
            sparkline=True,
        ),
        stat(
            "Idle cost an hour",
            description="What workers without a task cost in an hour at this rate, by the clusters' "
            "worker_price_per_hour in cluster-ai.yml.",
            unit="short",
            queries=[
                Query(
                    f"sum(count by (target) ({_IDLE}) * on (target) cluster_ai:worker_price:per_hour"
                    f" or (cluster_ai:worker_price:per_hour and on (target) {_GIVEN}) * 0)"
                )
            ],
            levels=plain(),
            empty="no price",
            decimals=2,
        ),
    ]


def _workers(limits: Mapping[str, float]) -> Any:
    def each(metric: str, more: str = "") -> str:
        return f"dask_cluster_worker_{metric}{{{WORKER}{more}}}"

    # Narrowed before anything is worked out of it: a thousand workers a column are dear.
    listed = f"topk by (target) ({_LISTED}, worker:dask_listed:order{{{WORKER}}})"

    def of(metric: str) -> str:
        return f"max by ({BY}) ({each(metric)} and on ({BY}) {listed})"

    def ratio(metric: str, whole: str) -> str:
        return f"max by ({BY}) ({each(metric)} / {each(whole)} and on ({BY}) {listed})"

    def column(title: str, expr: str, unit: str = "none", **looks: Any) -> Column:
        return Column(title=title, query=expr, unit=unit, **looks)

    memory = above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"])
    to_worker = to_page("worker", "This worker", dask=cell("Cluster"), worker=cell("Worker"))
    return table(
        "How is each worker?",
        description="Every worker as it is now, the fullest first; of a cluster with more than "
        f"{_LISTED} the {_LISTED} that need a look most, those not running and then the fullest: choose a host above "
        "to see all of its. Memory is of its limit: managed are task results, unmanaged is all else (code, leaks, what "
        "running tasks use), spilled lies on disk. Much unmanaged memory that stays when a worker idles is a leak: "
        "restart it. A high `Last seen` means that the scheduler no longer hears it.",
        columns=[
            Column(title="Worker", field="worker", links=[to_worker], width=170),
            Column(title="Cluster", field="target"),
            Column(title="Host", field="host"),
            column(
                "Status",
                f"max by ({BY}, status) (({each('status')} == 1) and on ({BY}) {listed})",
                field="status",
            ),
            column("Threads", of("threads")),
            column("CPU", ratio("cpu_ratio", "threads"), "percentunit", decimals=0),
            column(
                "Memory",
                ratio("memory_rss_bytes", "memory_limit_bytes"),
                "percentunit",
                decimals=0,
                levels=memory,
                gauge=True,
                width=170,
            ),
            column("Managed", of("memory_managed_bytes"), "bytes", decimals=0),
            column("Unmanaged", of("memory_unmanaged_bytes"), "bytes", decimals=0, width=100),
            column("Spilled", of("disk_spilled_bytes"), "bytes", decimals=0),
            column("Tasks", of("processing_tasks")),
            column(
                "Oldest",
                of("oldest_processing_task_seconds"),
                "s",
                decimals=0,
                levels=above(limits["dask_oldest_task_seconds"], worst=AMBER),
            ),
            column(
                "Last seen",
                f"clamp_min(time() - {of('last_seen_timestamp_seconds')}, 0)",
                "s",
                decimals=0,
                levels=above(limits["dask_worker_silent_seconds"]),
            ),
        ],
        empty="no workers, or more than series_limit lets through: the tiles still count them",
        sort="Memory",
    )
