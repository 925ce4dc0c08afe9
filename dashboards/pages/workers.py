"""Workers: who does the work, and who is in trouble?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Column, Page, Query, above, cell, choice, plain, row, stat, table, timeseries, to_page
from dashboards.kit.house import AMBER, GREEN
from dashboards.pages.common import of_system, restarts_and_alerts

_CLUSTER = 'target=~"$dask"'
_WORKER = 'target=~"$dask", host=~"$host"'
_BY = "target, host, worker"


def page(limits: Mapping[str, float]) -> Page:
    """Tiles, the table of workers, then what the tasks and the workers went through."""
    return Page(
        uid="workers",
        title="Workers",
        question="Who does the work, and who is in trouble? Sort the table by any column; a worker's name leads to its "
        "own page.",
        variables=[of_system("dask"), _hosts()],
        rows=[
            row(4, *_tiles(limits)),
            row(10, _workers(limits)),
            row(7, _finished(), _errors(limits), _lost()),
            row(7, _fullest(limits), _spilled(), _moved()),
            row(7, _scheduler_loop(limits), _worker_loops(limits), _oldest(limits)),
        ],
        annotations=restarts_and_alerts(),
    )


def _hosts() -> dict[str, Any]:
    return choice("host", "Host", f"label_values(dask_cluster_worker_info{{{_CLUSTER}}}, host)")


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "Running",
            description="Workers that take tasks. Fewer than you started: look at `Lost in an hour` and the hosts.",
            unit="none",
            queries=[Query(f'sum(dask_cluster_workers{{status="running", {_CLUSTER}}})')],
            levels=plain(GREEN),
            empty="unknown",
            sparkline=True,
        ),
        stat(
            "Paused",
            description="Workers that start no tasks because their memory is short. 0 is good; a paused worker frees "
            "itself when results are spilled, moved or released, or is restarted at 95 % of its limit.",
            unit="none",
            queries=[Query(f'sum(dask_cluster_workers{{status="paused", {_CLUSTER}}})')],
            levels=above(1, worst=AMBER),
            empty="unknown",
        ),
        stat(
            "Busy threads",
            description="Threads that run a task now, as a share of all. Near 100 %: more workers would help. Low with "
            "tasks waiting: they wait for data or memory, and more workers would not help.",
            unit="percentunit",
            queries=[
                Query(
                    f'sum(dask_cluster_tasks{{state="executing", {_CLUSTER}}})'
                    f" / sum(dask_cluster_threads{{{_CLUSTER}}})"
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
                    f"sum(dask_cluster_memory_rss_bytes{{{_CLUSTER}}})"
                    f" / sum(dask_cluster_memory_limit_bytes{{{_CLUSTER}}})"
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
            queries=[Query(f'sum(dask_scheduler_tasks{{state=~"queued|no-worker", {_CLUSTER}}})')],
            levels=plain(),
            empty="scheduler has no /metrics",
            sparkline=True,
        ),
        stat(
            "Lost in an hour",
            description="Workers that left within the hour without being retired: killed, crashed or cut off. Their "
            "tasks began anew elsewhere. Look at their hosts' memory and at the nanny's log.",
            unit="none",
            queries=[
                Query(f'sum(round(increase(dask_cluster_worker_removals_total{{expected!="true", {_CLUSTER}}}[1h])))')
            ],
            levels=above(limits["dask_workers_lost_per_hour"], limits["dask_workers_lost_per_hour_critical"]),
            empty="unknown",
        ),
    ]


def _workers(limits: Mapping[str, float]) -> Any:
    def of(metric: str) -> str:
        return f"max by ({_BY}) (dask_cluster_worker_{metric}{{{_WORKER}}})"

    memory = above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"])
    to_worker = to_page("worker", "This worker", dask=cell("Cluster"), worker=cell("Worker"))
    return table(
        "How is each worker?",
        description="Every worker as it is now, the fullest first. Memory is of its limit: managed are task results, "
        "unmanaged is all else (code, leaks, what running tasks use), spilled lies on disk. Much unmanaged memory that "
        "stays when a worker idles is a leak: restart it. A high `Last seen` means that the scheduler no longer hears "
        "it.",
        columns=[
            Column(title="Worker", field="worker", links=[to_worker], width=170),
            Column(title="Cluster", field="target"),
            Column(title="Host", field="host"),
            Column(
                title="Status",
                field="status",
                query=f"max by ({_BY}, status) (dask_cluster_worker_status{{{_WORKER}}} == 1)",
            ),
            Column(title="Threads", query=of("threads"), unit="none"),
            Column(title="CPU", query=f"{of('cpu_ratio')} / {of('threads')}", unit="percentunit", decimals=0),
            Column(
                title="Memory",
                query=f"{of('memory_rss_bytes')} / {of('memory_limit_bytes')}",
                unit="percentunit",
                decimals=0,
                levels=memory,
                gauge=True,
                width=170,
            ),
            Column(title="Managed", query=of("memory_managed_bytes"), unit="bytes", decimals=0),
            Column(title="Unmanaged", width=100, query=of("memory_unmanaged_bytes"), unit="bytes", decimals=0),
            Column(title="Spilled", query=of("disk_spilled_bytes"), unit="bytes", decimals=0),
            Column(title="Tasks", query=of("processing_tasks"), unit="none"),
            Column(
                title="Oldest",
                query=of("oldest_processing_task_seconds"),
                unit="s",
                decimals=0,
                levels=above(limits["dask_oldest_task_seconds"], worst=AMBER),
            ),
            Column(
                title="Last seen",
                query=f"clamp_min(time() - {of('last_seen_timestamp_seconds')}, 0)",
                unit="s",
                decimals=0,
                levels=above(limits["dask_worker_silent_seconds"]),
            ),
        ],
        empty="no workers, or more than series_limit lets through: the tiles still count them",
        sort="Memory",
    )


def _finished() -> Any:
    return timeseries(
        "Which tasks get done?",
        description="Tasks that finished, a second, by the first word of their key. A prefix that stops while others "
        "go on is stuck or out of work; compare with `Unassigned tasks`.",
        unit="ops",
        queries=[
            Query(
                "topk(10, sum by (task_prefix_name) (rate(dask_scheduler_prefix_state_totals_total"
                f'{{state="memory", {_CLUSTER}}}[$__rate_interval])) > 0)',
                "{{task_prefix_name}}",
                every="15s",
            )
        ],
        levels=plain(),
        empty="nothing finished, or the scheduler has no /metrics",
        stacked=True,
    )


def _errors(limits: Mapping[str, float]) -> Any:
    totals = "rate(dask_scheduler_prefix_state_totals_total"
    state = f'sum by (task_prefix_name) ({totals}{{{{state=~"{{}}", {_CLUSTER}}}}}[5m]))'
    return timeseries(
        "Which tasks fail?",
        description="Failed tasks as a share of those that ended, by the first word of their key. Over 5 minutes; any "
        "is worth a look at the task's traceback in Dask's own page; much of one kind is a bug or bad input, of all "
        "kinds an ill host.",
        unit="percentunit",
        queries=[
            Query(
                f"{state.format('erred')} / ({state.format('erred|memory')} > 0) > 0",
                "{{task_prefix_name}}",
                every="15s",
            )
        ],
        levels=above(limits["dask_task_error_ratio"], limits["dask_task_error_ratio_critical"]),
        empty="none fail",
        maximum=1,
    )


def _lost() -> Any:
    return timeseries(
        "Who came and went?",
        description="Workers that joined, were retired, and were lost, within the hour before. Lost ones took their "
        "results with them: those are computed again. Heartbeat time-outs say that the network or a blocked worker "
        "was the reason; memory restarts that its limit was.",
        unit="none",
        queries=[
            Query(f"sum(round(increase(dask_cluster_worker_additions_total{{{_CLUSTER}}}[1h])))", "joined"),
            Query(
                f'sum(round(increase(dask_cluster_worker_removals_total{{expected="true", {_CLUSTER}}}[1h])))',
                "retired",
            ),
            Query(
                f'sum(round(increase(dask_cluster_worker_removals_total{{expected!="true", {_CLUSTER}}}[1h])))', "lost"
            ),
            Query(
                f"sum(round(increase(dask_cluster_worker_heartbeat_timeouts_total{{{_CLUSTER}}}[1h])))",
                "heartbeat time-outs",
            ),
            Query(
                f"sum(round(increase(dask_cluster_worker_memory_restarts_total{{{_CLUSTER}}}[1h])))", "memory restarts"
            ),
        ],
        levels=plain(),
        empty="unknown",
    )


def _fullest(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Which workers are fullest?",
        description="The ten workers with the most memory of their limit. A few far above the rest: data is spread "
        "badly; call client.rebalance(). All of them high: smaller pieces, or more memory.",
        unit="percentunit",
        queries=[
            Query(
                f"topk(10, max by ({_BY}) (dask_cluster_worker_memory_rss_bytes{{{_WORKER}}})"
                f" / max by ({_BY}) (dask_cluster_worker_memory_limit_bytes{{{_WORKER}}}))",
                "{{worker}}",
            )
        ],
        levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
        empty="no workers with a limit",
        maximum=1,
    )


def _spilled() -> Any:
    return timeseries(
        "Who spills to disk?",
        description="Task results that lie on disk because memory was short. Some is fine; much that comes and goes is "
        "slow work: results are read back before each use.",
        unit="bytes",
        queries=[
            Query(f"topk(10, max by ({_BY}) (dask_cluster_worker_disk_spilled_bytes{{{_WORKER}}}) > 0)", "{{worker}}")
        ],
        levels=plain(),
        empty="nobody spills",
        stacked=True,
    )


def _moved() -> Any:
    return timeseries(
        "How much moves between workers?",
        description="Bytes a second that workers send each other. Tasks in `flight` and `fetch` with the network full: "
        "results travel more than they are worked on; larger pieces or fewer hosts help.",
        unit="Bps",
        queries=[
            Query(
                f"topk(10, sum by (worker) "
                f"(rate(dask_worker_transfer_outgoing_bytes_total{{{_WORKER}}}[$__rate_interval])))",
                "{{worker}}",
                every="15s",
            )
        ],
        levels=plain(),
        empty="workers have no /metrics, or nothing moved",
    )


def _scheduler_loop(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Does the scheduler keep up?",
        description="The longest turn of the scheduler's event loop since the last look. A free one takes some "
        "hundredths of a second; when turns take seconds everything waits for it: fewer and larger tasks help.",
        unit="s",
        queries=[Query(f"max by (target) (dask_scheduler_tick_duration_maximum_seconds{{{_CLUSTER}}})", "{{target}}")],
        levels=above(limits["dask_event_loop_seconds"], limits["dask_event_loop_seconds_critical"]),
        empty="scheduler has no /metrics",
    )


def _worker_loops(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Which workers are blocked?",
        description="Time between two turns of a worker's event loop, the ten slowest. 0.02 s is free; more means that "
        "something holds the interpreter (code that keeps the GIL, swapping) and heartbeats wait.",
        unit="s",
        queries=[
            Query(
                f"topk(10, max by ({_BY}) (dask_cluster_worker_event_loop_interval_seconds{{{_WORKER}}}))", "{{worker}}"
            )
        ],
        levels=above(limits["dask_event_loop_seconds"], limits["dask_event_loop_seconds_critical"]),
        empty="no workers",
    )


def _oldest(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Whose oldest task is old?",
        description="Age of the oldest task of each worker, the ten oldest. A line that climbs without end is one long "
        "or stuck task: see its worker's call stack in Dask's own page.",
        unit="s",
        queries=[
            Query(
                f"topk(10, max by ({_BY}) (dask_cluster_worker_oldest_processing_task_seconds{{{_WORKER}}}) > 0)",
                "{{worker}}",
            )
        ],
        levels=above(limits["dask_oldest_task_seconds"], worst=AMBER),
        empty="no tasks",
    )
