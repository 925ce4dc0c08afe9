"""What the tasks and the workers went through: the graphs of the Workers page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import AMBER, Query, above, plain, timeseries

CLUSTER = 'target=~"$dask"'
WORKER = 'target=~"$dask", host=~"$host"'
BY = "target, host, worker"


def _top(what: str) -> str:
    """The ten highest of each cluster, of the chosen hosts: recorded, since a thousand workers are too many to sort."""
    return f"worker:dask_{what}:top10{{{WORKER}}}"


def finished() -> Any:
    """Throughput."""
    return timeseries(
        "Which tasks get done?",
        description="Tasks that finished, a second, by the first word of their key. A prefix that stops while others "
        "go on is stuck or out of work; compare with `Unassigned tasks`.",
        unit="ops",
        queries=[
            Query(
                "topk(10, sum by (task_prefix_name) (rate(dask_scheduler_prefix_state_totals_total"
                f'{{state="memory", {CLUSTER}}}[$__rate_interval])) > 0)',
                "{{task_prefix_name}}",
                every="15s",
            )
        ],
        levels=plain(),
        empty="nothing finished, or the scheduler has no /metrics",
        stacked=True,
    )


def errors(limits: Mapping[str, float]) -> Any:
    """Failed tasks."""
    totals = "rate(dask_scheduler_prefix_state_totals_total"
    state = f'sum by (task_prefix_name) ({totals}{{{{state=~"{{}}", {CLUSTER}}}}}[5m]))'
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


def lost() -> Any:
    """Joined, retired, lost."""
    return timeseries(
        "Who came and went?",
        description="Workers that joined, were retired, and were lost, within the hour before. Lost ones took their "
        "results with them: those are computed again. Heartbeat time-outs say that the network or a blocked worker "
        "was the reason; memory restarts that its limit was.",
        unit="none",
        queries=[
            Query(f"sum(round(increase(dask_cluster_worker_additions_total{{{CLUSTER}}}[1h])))", "joined"),
            Query(
                f'sum(round(increase(dask_cluster_worker_removals_total{{expected="true", {CLUSTER}}}[1h])))',
                "retired",
            ),
            Query(
                f'sum(round(increase(dask_cluster_worker_removals_total{{expected!="true", {CLUSTER}}}[1h])))', "lost"
            ),
            Query(
                f"sum(round(increase(dask_cluster_worker_heartbeat_timeouts_total{{{CLUSTER}}}[1h])))",
                "heartbeat time-outs",
            ),
            Query(
                f"sum(round(increase(dask_cluster_worker_memory_restarts_total{{{CLUSTER}}}[1h])))", "memory restarts"
            ),
        ],
        levels=plain(),
        empty="unknown",
    )


def fullest(limits: Mapping[str, float]) -> Any:
    """Memory."""
    return timeseries(
        "Which workers are fullest?",
        description="The ten workers with the most memory of their limit. A few far above the rest: data is spread "
        "badly; call client.rebalance(). All of them high: smaller pieces, or more memory.",
        unit="percentunit",
        queries=[Query(_top("memory_ratio"), "{{worker}}", "15s")],
        levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
        empty="no workers with a limit",
        maximum=1,
    )


def spilled() -> Any:
    """Results on disk."""
    return timeseries(
        "Who spills to disk?",
        description="Task results that lie on disk because memory was short. Some is fine; much that comes and goes is "
        "slow work: results are read back before each use.",
        unit="bytes",
        queries=[Query(_top("disk_spilled_bytes"), "{{worker}}", "15s")],
        levels=plain(),
        empty="nobody spills",
        stacked=True,
    )


def moved() -> Any:
    """Transfers."""
    return timeseries(
        "How much moves between workers?",
        description="Bytes a second that workers send each other. Tasks in `flight` and `fetch` with the network full: "
        "results travel more than they are worked on; larger pieces or fewer hosts help.",
        unit="Bps",
        queries=[Query(_top("transfer_outgoing_bytes"), "{{worker}}", "15s")],
        levels=plain(),
        empty="workers have no /metrics, or nothing moved",
    )


def scheduler_loop(limits: Mapping[str, float]) -> Any:
    """The scheduler's event loop."""
    return timeseries(
        "Does the scheduler keep up?",
        description="The longest turn of the scheduler's event loop since the last look. A free one takes some "
        "hundredths of a second; when turns take seconds everything waits for it: fewer and larger tasks help.",
        unit="s",
        queries=[Query(f"max by (target) (dask_scheduler_tick_duration_maximum_seconds{{{CLUSTER}}})", "{{target}}")],
        levels=above(limits["dask_event_loop_seconds"], limits["dask_event_loop_seconds_critical"]),
        empty="scheduler has no /metrics",
    )


def worker_loops(limits: Mapping[str, float]) -> Any:
    """The workers' event loops."""
    return timeseries(
        "Which workers are blocked?",
        description="Time between two turns of a worker's event loop, the ten slowest. 0.02 s is free; more means that "
        "something holds the interpreter (code that keeps the GIL, swapping) and heartbeats wait.",
        unit="s",
        queries=[Query(_top("event_loop_interval_seconds"), "{{worker}}", "15s")],
        levels=above(limits["dask_event_loop_seconds"], limits["dask_event_loop_seconds_critical"]),
        empty="no workers",
    )


def oldest(limits: Mapping[str, float]) -> Any:
    """Age of tasks."""
    return timeseries(
        "Whose oldest task is old?",
        description="Age of the oldest task of each worker, the ten oldest. A line that climbs without end is one long "
        "or stuck task: see its worker's call stack in Dask's own page.",
        unit="s",
        queries=[Query(_top("oldest_processing_task_seconds"), "{{worker}}", "15s")],
        levels=above(limits["dask_oldest_task_seconds"], worst=AMBER),
        empty="no tasks",
    )
