"""The monitoring's own health, for the System page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import UP_DOWN, Column, Query, above, plain, state_timeline, table, timeseries
from dashboards.pages import queries

SLOW = "15s"
_NATIVE = 20


def scrapes() -> Any:
    """What failed when."""
    return state_timeline(
        "What could not be scraped?",
        description="One band for each kind of scrape; down when any of its targets was. exporter is ours, probe your "
        "systems through it, native the Dask workers' own pages (they come and go), node the hosts. A gap: Prometheus "
        "was not running.",
        queries=[Query("job:up:min", "{{job}}", "15s")],
        states=UP_DOWN,
        empty="Prometheus scrapes nothing: is this its data source?",
        seen="job:up:min[15m]",
    )


def targets(limits: Mapping[str, float]) -> Any:
    """Each scrape and its cost."""
    by = "job, instance, host, target"
    native = f'topk({_NATIVE}, scrape_duration_seconds{{job="native"}})'
    listed = f'(up{{job!="native"}} or up == 0 or {native})'

    def of(expr: str) -> str:
        return f"max by ({by}) ({expr} and on ({by}) {listed})"

    return table(
        "What is scraped, and what does it cost?",
        description="Every scrape target: whether the last scrape worked, how long it took, how many series it "
        f"brought. Down ones stand first. Of Dask's own pages (native) that answer, the {_NATIVE} slowest. A scrape "
        "near its limit (4.5 s for probes) will soon fail.",
        columns=[
            Column(title="Job", field="job"),
            Column(title="Address", field="instance", width=150),
            Column(title="Target", field="target"),
            Column(title="Host", field="host"),
            Column(title="State", query=of("up"), states=UP_DOWN),
            Column(
                title="Took",
                query=of("scrape_duration_seconds"),
                unit="s",
                levels=above(limits["target_scrape_seconds"], limits["target_scrape_seconds_critical"]),
            ),
            Column(title="Series", query=of("scrape_samples_post_metric_relabeling"), unit="short"),
        ],
        empty="Prometheus scrapes nothing: is this its data source?",
        sort="State",
        descending=False,
    )


def cost() -> list[Any]:
    """CPU, memory and series."""
    return [
        timeseries(
            "What CPU does the monitoring take?",
            description="Cores that each part of the monitoring uses. All together should be a small part of one core; "
            "much in Prometheus is many series or heavy pages, much in the exporter very large clusters.",
            unit="none",
            queries=[
                Query(
                    'sum by (job) (rate(process_cpu_seconds_total{job!="native"}[$__rate_interval]))',
                    "{{job}}",
                    every=SLOW,
                )
            ],
            levels=plain(),
            empty="the parts are not scraped",
            decimals=2,
            stacked=True,
        ),
        timeseries(
            "What memory does the monitoring take?",
            description="Resident memory of each part. Prometheus grows with the number of series; a part that climbs "
            "for days leaks.",
            unit="bytes",
            queries=[Query('sum by (job) (process_resident_memory_bytes{job!="native"})', "{{job}}")],
            levels=plain(),
            empty="the parts are not scraped",
            stacked=True,
        ),
        timeseries(
            "How many series are kept?",
            description="Series that Prometheus holds now. Each costs some kilobytes of memory. A climb without new "
            "workers or models is a label that never repeats.",
            unit="short",
            queries=[
                Query("sum(prometheus_tsdb_head_series)", "all"),
                Query("sum by (target) (cluster_ai_exporter_target_series)", "{{target}}"),
            ],
            levels=plain(),
            empty="Prometheus is not scraped",
        ),
    ]


def health(limits: Mapping[str, float]) -> list[Any]:
    """Looks at targets, and Prometheus itself."""
    took = " or ".join(
        f"max by (system, target) ({prefix}_scrape_duration_seconds)" for prefix in queries.PREFIX.values()
    )
    return [
        timeseries(
            "How long does a look at a target take?",
            description="Time the exporter needs to ask each target. A climb says that the target is slow to answer, "
            "often before its users notice. Prometheus gives up at 4.5 s.",
            unit="s",
            queries=[Query(took, "{{target}} ({{system}})")],
            levels=above(limits["target_scrape_seconds"], limits["target_scrape_seconds_critical"]),
            empty="no targets",
        ),
        timeseries(
            "Which looks fail, and why?",
            description="Failed calls to a target, a second, by reason. None is good. timeout: slow or blocked. "
            "unauthorized, forbidden: its key. connection_refused: it is not running. `cluster-ai doctor` says what "
            "to do.",
            unit="ops",
            queries=[Query(queries.LOOKS_FAILING.format(selector=""), "{{target}}: {{reason}}", SLOW)],
            levels=plain(),
            empty="none fail",
        ),
        timeseries(
            "Does Prometheus keep up?",
            description="Alerts and messages that could not be sent, rules that failed or were late, pages of targets "
            "too large to be read, a second. All at 0 is good; anything else means that alerts may be late or lost.",
            unit="ops",
            queries=[
                Query("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "alerts dropped", "15s"),
                Query("sum(rate(prometheus_rule_evaluation_failures_total[$__rate_interval]))", "rules failed", "15s"),
                Query(
                    "sum(rate(prometheus_rule_group_iterations_missed_total[$__rate_interval]))", "rules late", "15s"
                ),
                Query(
                    "sum(rate(prometheus_target_scrapes_exceeded_sample_limit_total[$__rate_interval]))",
                    "pages too large",
                    "15s",
                ),
                Query("sum(rate(alertmanager_notifications_failed_total[$__rate_interval]))", "messages failed", "15s"),
            ],
            levels=plain(),
            empty="Prometheus is not scraped, or has no rules",
        ),
    ]
