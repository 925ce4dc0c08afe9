"""Dashboard: is my cluster well, right now?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import (
    AMBER,
    GOOD_BAD,
    GREEN,
    RED,
    Page,
    Query,
    State,
    above,
    colors,
    heading,
    plain,
    row,
    stat,
    state_timeline,
    timeseries,
    to_page,
)
from dashboards.pages import firing, queries
from dashboards.pages.common import restarts_and_alerts

_NOT_CONFIGURED = "not configured"


def page(limits: Mapping[str, float]) -> Page:
    """The first page: states, then numbers, then the trends behind them."""
    return Page(
        uid="dashboard",
        title="Dashboard",
        question="Is my cluster well, right now? Tiles from left to right: the three systems, the monitoring itself, "
        "what fires. Each leads to the page that says more.",
        rows=[
            row(3, *(_system(system) for system in queries.PREFIX), _monitoring(limits), *_alerts()),
            row(4, *_numbers(limits)),
            row(6, firing.wrong(), _history(), widths=(11, 13)),
            row(7, _tasks(), _worker_memory(limits), _tokens()),
            heading("The last day", "Whatever time is chosen above. Compare with yesterday at this hour."),
            row(6, *_day(limits)),
        ],
        annotations=restarts_and_alerts(),
    )


def _system(system: str) -> Any:
    title = queries.TITLES[system]
    return stat(
        title,
        description=f"The worst state of any {title} in cluster-ai.yml. Up: it answers as itself and every part of it "
        "can be read. Partly blind: it answers, but some calls fail (a refused key, a page that is off); its page says "
        "which. Down: nothing that is it answers; look at its host first. Unknown: our exporter is down.",
        unit="none",
        queries=[Query(f"min({queries.state(system)})")],
        levels=plain(),
        states=GOOD_BAD,
        empty=_NOT_CONFIGURED,
        filled=True,
        links=[to_page(system, f"{title} in detail")],
    )


def _monitoring(limits: Mapping[str, float]) -> Any:
    return stat(
        "Monitoring",
        description="Scrapes that fail right now, those of workers' own pages aside. Up: none. Otherwise something on "
        "these pages is missing or stale; the System page names it. While Prometheus itself is down every panel says "
        "so.",
        unit="suffix: scrapes failing",
        queries=[Query(queries.SCRAPES_FAILING)],
        levels=above(limits["scrapes_failing"]),
        states=[State(0, "Up", GREEN)],
        empty="nothing is scraped",
        filled=True,
        links=[to_page("system", "What is scraped")],
    )


def _alerts() -> list[Any]:
    return [
        stat(
            title,
            description=f"Alerts of severity {severity} that fire now. 0 is good. `no rules` means that Prometheus has "
            "no alert rules: nobody is told of anything yet.",
            unit="none",
            queries=[Query(queries.FIRING.format(severity=severity))],
            levels=above(1, worst=color),
            empty="no rules",
            filled=True,
            links=[to_page("alerts", "What fires")],
        )
        for severity, title, color in (("critical", "Critical alerts", RED), ("warning", "Warnings", AMBER))
    ]


def _numbers(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "Workers",
            description="Workers that take tasks, of all clusters. A step down that nobody ordered is a lost worker: "
            "the Workers page counts those. Paused workers (memory is short) are not in this number.",
            unit="none",
            queries=[Query('sum(dask_cluster_workers{status="running"})')],
            levels=plain(),
            empty="unknown",
            sparkline=True,
            links=[to_page("workers", "The workers")],
        ),
        stat(
            "Tasks",
            description="Tasks that the schedulers gave to workers, running or in a worker's queue. High is work to "
            "do; high while CPU stays low means that workers wait for data, locks or memory.",
            unit="short",
            queries=[Query("sum(dask_cluster_processing_tasks)")],
            levels=plain(),
            empty="unknown",
            sparkline=True,
            links=[to_page("dask", "Where the tasks are")],
        ),
        stat(
            "Fullest worker",
            description="Memory of the fullest worker as a share of its limit. Dask spills to disk from 70 %, pauses "
            "the worker at 80 % and restarts it at 95 %. Amber: its tasks will soon wait.",
            unit="percentunit",
            queries=[Query('max(dask_cluster_worker_memory_ratio_quantile{q="1"})')],
            levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
            empty="no limits set",
            sparkline=True,
            decimals=0,
            links=[to_page("workers", "Which worker")],
        ),
        stat(
            "Models loaded",
            description="Models that the Ollamas have loaded. The first question to a model that is not loaded waits "
            "until it has come from disk.",
            unit="none",
            queries=[Query("sum(ollama_models_loaded)")],
            levels=plain(),
            empty="unknown",
            sparkline=True,
            links=[to_page("ollama", "Which models")],
        ),
        stat(
            "Tokens/s",
            description="Tokens that models wrote in chats of Open WebUI, as a rate over 5 minutes. Zero at night is "
            "fine; zero while people are active means that answers fail: look at the backends.",
            unit="short",
            queries=[Query(queries.TOKENS_PER_SECOND.format(by="", selector='type="output"'))],
            levels=plain(),
            empty="unknown",
            sparkline=True,
            decimals=1,
            links=[to_page("openwebui", "Which models")],
        ),
        stat(
            "People",
            description="People who used Open WebUI within the last 3 minutes, the owner of the monitoring key aside.",
            unit="none",
            queries=[Query('sum(openwebui_users_active{window="3m"})')],
            levels=plain(),
            empty="unknown",
            sparkline=True,
            links=[to_page("openwebui", "Open WebUI in detail")],
        ),
    ]


def _history() -> Any:
    return state_timeline(
        "When was what down?",
        description="One band for each target in cluster-ai.yml. Good is one colour from end to end. Bands that turn "
        "red together point at what they share: a host or the network. A gap: Prometheus itself was not running.",
        queries=[Query(queries.states(), "{{target}} ({{system}})")],
        states=GOOD_BAD,
        empty="no targets: list your systems in cluster-ai.yml",
        seen='up{job="probe"}[15m]',
    )


def _tasks() -> Any:
    return timeseries(
        "What do the tasks do?",
        description="Tasks on all Dask workers by state. `executing` near the number of threads is a busy cluster; "
        "much `waiting`, `fetch` or `flight` is time lost on moving data; `error` that grows needs the task's own log.",
        unit="short",
        queries=[Query("sum by (state) (dask_cluster_tasks) > 0", "{{state}}")],
        levels=plain(),
        empty="no tasks",
        stacked=True,
        colors=colors.TASKS,
    )


def _worker_memory(limits: Mapping[str, float]) -> Any:
    return timeseries(
        "How full are workers?",
        description="Memory of the median and of the fullest worker, as a share of its limit. The fullest alone near "
        "the line: data is spread badly. Both near it: the work needs more memory or smaller pieces.",
        unit="percentunit",
        queries=[
            Query('max by (target) (dask_cluster_worker_memory_ratio_quantile{q="1"})', "{{target}}: fullest"),
            Query('max by (target) (dask_cluster_worker_memory_ratio_quantile{q="0.5"})', "{{target}}: median"),
        ],
        levels=above(limits["dask_worker_memory_ratio"], limits["dask_worker_memory_ratio_critical"]),
        empty="no Dask, or its workers have no memory limit",
        maximum=1,
        links=[to_page("workers", "Which worker")],
    )


def _tokens() -> Any:
    return timeseries(
        "Who writes the tokens?",
        description="Tokens per second by model, from the chats that Open WebUI stores; calls of its API that are not "
        "stored do not count. A model that falls to zero while others go on may be stuck.",
        unit="short",
        queries=[Query(queries.TOKENS_PER_SECOND.format(by="model", selector='type="output"'), "{{model}}")],
        levels=plain(),
        empty="no Open WebUI, or it has no usage analytics",
        stacked=True,
        links=[to_page("openwebui", "Open WebUI in detail")],
    )


def _day(limits: Mapping[str, float]) -> list[Any]:
    return [
        timeseries(
            "Workers, by day",
            description="Running workers of each cluster over 24 hours, whatever time is chosen above. Compare with "
            "yesterday at this hour: a missing worker shows as a step.",
            unit="none",
            queries=[Query('sum by (target) (dask_cluster_workers{status="running"})', "{{target}}")],
            levels=plain(),
            empty="unknown",
            last="24h",
        ),
        timeseries(
            "People, by day",
            description="People active in Open WebUI over 24 hours. Its shape is the shape of your load: plan restarts "
            "for where it is low.",
            unit="none",
            queries=[Query('sum by (target) (openwebui_users_active{window="3m"})', "{{target}}")],
            levels=plain(),
            empty="no Open WebUI, or it tells no usage",
            last="24h",
        ),
        timeseries(
            "Host CPU, by day",
            description="CPU in use on each host over 24 hours, 100 % is all of its cores. Above the line for long: "
            "work queues for a CPU. Low while tasks wait: the bottleneck is elsewhere.",
            unit="percentunit",
            queries=[Query(queries.CPU.format(selector=""), "{{host}}", every="15s")],
            levels=above(limits["host_cpu_ratio"]),
            empty="no host has a node_exporter",
            maximum=1,
            last="24h",
        ),
        timeseries(
            "Host memory, by day",
            description="Memory in use on each host over 24 hours. A line that only climbs is a leak: see on the "
            "System and worker pages whose.",
            unit="percentunit",
            queries=[Query(f"max by (host) ({queries.MEMORY.format(selector='')})", "{{host}}")],
            levels=above(limits["host_memory_ratio"], limits["host_memory_ratio_critical"]),
            empty="no host has a node_exporter",
            maximum=1,
            last="24h",
        ),
    ]
