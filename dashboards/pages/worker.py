"""Worker: what is this one doing, and what is wrong with it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import (
    Page,
    Query,
    State,
    above,
    choice,
    colors,
    heading,
    plain,
    row,
    stat,
    state_timeline,
    timeseries,
    to_page,
)
from dashboards.kit.house import AMBER, GREEN
from dashboards.pages.common import restarts_and_alerts

_SELECTED = 'target="$dask", worker="$worker"'
_GONE = "no such worker now"


def page(limits: Mapping[str, float]) -> Page:
    """One worker, beside the rest of its cluster where that says something."""
    return Page(
        uid="worker",
        title="Dask worker",
        question="What is this worker doing, and what is wrong with it? A worker of the same name that was restarted "
        "goes on in the same lines.",
        variables=[
            choice("dask", "Dask cluster", "label_values(dask_cluster_worker_info, target)", several=False),
            choice("worker", "Worker", 'label_values(dask_cluster_worker_info{target="$dask"}, worker)', several=False),
        ],
        rows=[
            row(4, *_tiles(limits)),
            row(8, _memory(), _tasks(), _cpu()),
            row(8, _moves(), _spill(), _loop(limits)),
            heading("Was it there?", "As its scheduler saw it."),
            row(5, _status(), _files()),
        ],
        annotations=restarts_and_alerts(),
    )


def _of(metric: str) -> str:
    return f"max(dask_cluster_worker_{metric}{{{_SELECTED}}})"


def _tiles(limits: Mapping[str, float]) -> list[Any]:
    # The last seen of several of that name: the one before was perhaps restarted a moment ago.
    info = f"topk(1, max by (address, host) (timestamp(dask_cluster_worker_info{{{_SELECTED}}})))"
    return [
        stat(
            "Where",
            description="The host it runs on, and its address as the scheduler knows it.",
            unit="none",
            queries=[Query(info, "{{host}} {{address}}")],
            levels=plain(),
            empty=_GONE,
            names_only=True,
            links=[to_page("system", "Its host")],
        ),
        stat(
            "Status",
            description="What the scheduler makes of it. paused: it starts no tasks because its memory is short.",
            unit="none",
            queries=[Query(f"max by (status) (dask_cluster_worker_status{{{_SELECTED}}} == 1)", "{{status}}")],
            levels=plain(),
            empty=_GONE,
            names_only=True,
        ),
        stat(
            "Memory",
            description="Of its limit. It spills at 70 %, pauses at 80 %, is restarted at 95 %.",
            unit="percentunit",
            queries=[Query(f"{_of('memory_rss_bytes')} / {_of('memory_limit_bytes')}")],
            levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
            empty="no limit set",
            decimals=0,
            sparkline=True,
        ),
        stat(
            "Tasks",
            description="Tasks the scheduler gave to it, those in its queue included.",
            unit="none",
            queries=[Query(_of("processing_tasks"))],
            levels=plain(),
            empty=_GONE,
            sparkline=True,
        ),
        stat(
            "Oldest task",
            description="Age of its oldest task. Climbing without end: one long or stuck task; see its call stack in "
            "Dask's own page.",
            unit="s",
            queries=[Query(_of("oldest_processing_task_seconds"))],
            levels=above(limits["dask_oldest_task_seconds"], worst=AMBER),
            empty=_GONE,
            decimals=0,
        ),
        stat(
            "Last seen",
            description="Time since the scheduler last heard of it, by two clocks that should agree. Half a second to "
            "some seconds is right.",
            unit="s",
            queries=[Query(f"clamp_min(time() - {_of('last_seen_timestamp_seconds')}, 0)")],
            levels=above(limits["dask_worker_silent_seconds"]),
            empty=_GONE,
            decimals=0,
        ),
    ]


def _memory() -> Any:
    return timeseries(
        "What fills its memory?",
        description="Task results (managed) and everything else (unmanaged), beside its limit. Unmanaged memory that "
        "stays when it idles is a leak: restart the worker, then look for what holds on.",
        unit="bytes",
        queries=[
            Query(_of("memory_managed_bytes"), "task results"),
            Query(_of("memory_unmanaged_bytes"), "everything else"),
            Query(_of("memory_rss_bytes"), "all of the process"),
            Query(_of("memory_limit_bytes"), "limit"),
        ],
        levels=plain(),
        empty=_GONE,
    )


def _tasks() -> Any:
    return timeseries(
        "What do its tasks do?",
        description="Its tasks by state. executing up to its number of threads is busy; ready: waiting for a thread; "
        "fetch and flight: their data is on the way.",
        unit="short",
        queries=[Query(f"max by (state) (dask_cluster_worker_tasks{{{_SELECTED}}}) > 0", "{{state}}")],
        levels=plain(),
        empty="no tasks",
        stacked=True,
        colors=colors.TASKS,
    )


def _cpu() -> Any:
    return timeseries(
        "What CPU does it use?",
        description="Cores its process uses, beside its threads. Far below with tasks executing: they wait, or hold "
        "Python's lock in turn.",
        unit="none",
        queries=[Query(_of("cpu_ratio"), "cores in use"), Query(_of("threads"), "threads")],
        levels=plain(),
        empty=_GONE,
    )


def _moves() -> Any:
    return timeseries(
        "What moves in and out?",
        description="Transfers of task results that are under way right now, in bytes.",
        unit="bytes",
        queries=[
            Query(f"max by (direction) (dask_cluster_worker_transfer_bytes{{{_SELECTED}}})", "{{direction}}"),
        ],
        levels=plain(),
        empty=_GONE,
    )


def _spill() -> Any:
    return timeseries(
        "Does it spill?",
        description="Task results on its disk. Much that comes and goes is slow work: more memory or smaller pieces "
        "help.",
        unit="bytes",
        queries=[Query(_of("disk_spilled_bytes"), "on disk"), Query(_of("memory_spilled_bytes"), "would be in memory")],
        levels=plain(),
        empty=_GONE,
    )


def _loop(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "Is it blocked?",
        description="Time between two turns of its event loop, beside the slowest of its cluster. 0.02 s is free; "
        "seconds mean that it cannot send its heartbeat and will be given up.",
        unit="s",
        queries=[
            Query(_of("event_loop_interval_seconds"), "this worker"),
            Query(
                'max(dask_cluster_worker_event_loop_interval_seconds_quantile{q="1", target="$dask"})',
                "slowest of the cluster",
            ),
        ],
        levels=above(limits["dask_event_loop_seconds"], limits["dask_event_loop_seconds_critical"]),
        empty=_GONE,
    )


def _status() -> Any:
    return state_timeline(
        "When was it there?",
        description="Its status over time; gaps are when no worker of this name was known.",
        queries=[Query(f"max by (status) (dask_cluster_worker_status{{{_SELECTED}}} == 1)", "{{status}}")],
        states=[State(1, "yes", GREEN)],
        empty=_GONE,
        seen=f"dask_cluster_worker_status{{{_SELECTED}}}[$__range]",
    )


def _files() -> Any:
    return timeseries(
        "How many files has it open?",
        description="File descriptors of its process. A climb that never ends is a leak and stops the worker at the "
        "system's limit, often 1024.",
        unit="none",
        queries=[Query(_of("open_fds"), "open files")],
        levels=plain(),
        empty=_GONE,
    )
