"""Settings: what does this installation watch, and how?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Column, Page, Query, State, plain, row, stat, table, text
from dashboards.kit.house import GREEN, RED
from dashboards.pages import queries
from dashboards.pages.common import restarts_and_alerts

_CHANGES = """\
Everything here comes from one file, `cluster-ai.yml`. Change it, run `cluster-ai check`, then `cluster-ai up` again;
the exporter takes changed targets by itself when it is sent a SIGHUP.

| To change | edit | documented in |
|---|---|---|
| what is watched | `targets:` | docs/configuration.md |
| the numbers beside this | `alerts: thresholds:` | alert_rules/defaults.yml |
| how long metrics are kept | `retention:` | docs/configuration.md |
| where each part listens | `services:` | docs/running.md |
| who may come in | Grafana, Administration, Users and access | Grafana's documentation |

Nobody is notified by this version: Alertmanager has no receivers. `cluster-ai doctor` says what would make monitoring
fail or mislead.
"""
_READ = (State(0, "Old one in use", RED), State(1, "As written", GREEN))


def page(limits: Mapping[str, float]) -> Page:
    """Targets and versions, then the numbers in force and where each is changed."""
    return Page(
        uid="settings",
        title="Settings",
        question="What does this installation watch, how, and where is each thing changed?",
        refresh="15s",
        rows=[
            row(4, *_tiles()),
            row(7, _watched(), _services(), widths=(14, 10)),
            row(13, text("Numbers in force", _numbers(limits)), text("Where is it changed?", _CHANGES)),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles() -> list[Any]:
    reloaded = " or ".join(
        f'label_replace({metric}, "part", "{part}", "", "")'
        for part, metric in (
            ("exporter", "cluster_ai_exporter_config_last_reload_successful"),
            ("web door", "cluster_ai_exporter_web_config_last_reload_successful"),
            ("prometheus", "prometheus_config_last_reload_successful"),
            ("alertmanager", "alertmanager_config_last_reload_successful"),
        )
    )
    return [
        stat(
            "Targets",
            description="Targets in cluster-ai.yml that the exporter watches. Fewer than you wrote: the file was not "
            "read again, or other exporters share them.",
            unit="none",
            queries=[Query("sum(cluster_ai_exporter_targets)")],
            levels=plain(),
            empty="no exporter",
        ),
        stat(
            "Configurations",
            description="Whether every part runs with its configuration as it is written now. Old one in use: the "
            "newest has an error, and the part's log says which line.",
            unit="none",
            queries=[Query(f"min({reloaded})")],
            levels=plain(),
            states=_READ,
            empty="not scraped",
        ),
        stat(
            "Configuration read",
            description="When the exporter last read cluster-ai.yml. Older than your last change: send it a SIGHUP or "
            "run `cluster-ai up` again.",
            unit="dateTimeFromNow",
            queries=[Query("max(cluster_ai_exporter_config_last_reload_success_timestamp_seconds) * 1000")],
            levels=plain(),
            empty="no exporter",
        ),
        stat(
            "Metrics on disk",
            description="Disk that the kept metrics take, the newest hours aside. The oldest go when it reaches the "
            "limit beside this.",
            unit="bytes",
            queries=[Query("sum(prometheus_tsdb_storage_blocks_bytes)")],
            levels=plain(),
            empty="not scraped",
        ),
        stat(
            "Room for metrics",
            description="The limit under `retention: size:`. Metrics go when it is reached or when they are older than "
            "`retention: time:`, whichever comes first.",
            unit="bytes",
            queries=[Query("sum(prometheus_tsdb_retention_limit_bytes)")],
            levels=plain(),
            empty="not scraped",
        ),
        stat(
            "Looked at every",
            description="Time between two scrapes of a target through the exporter, as it really is. 5 s is what is "
            "configured; much more means that Prometheus cannot keep up.",
            unit="s",
            queries=[Query('max(prometheus_target_interval_length_seconds{interval="5s", quantile="0.5"})')],
            levels=plain(),
            empty="not scraped",
            decimals=1,
        ),
    ]


def _watched() -> Any:
    by = "system, target"
    info = " or ".join(f"max by ({by}, version) ({prefix}_info)" for prefix in queries.PREFIX.values())
    took = " or ".join(f"max by ({by}) ({prefix}_scrape_duration_seconds)" for prefix in queries.PREFIX.values())
    errors = " or ".join(
        f"sum by ({by}) (round(increase({prefix}_collector_errors_total[24h])))" for prefix in queries.PREFIX.values()
    )
    dropped = " or ".join(f"max by ({by}) ({prefix}_series_dropped)" for prefix in queries.PREFIX.values())
    return table(
        "What is watched?",
        description="Every target in cluster-ai.yml, its version, what it costs to look at, and calls that failed "
        "within a day. Dropped series: raise the target's series_limit.",
        columns=[
            Column(title="System", field="system"),
            Column(title="Target", field="target"),
            Column(title="Version", field="version", query=info),
            Column(title="Series", query=f"max by ({by}) (cluster_ai_exporter_target_series)", unit="short"),
            Column(title="Dropped", query=dropped, unit="short"),
            Column(title="Look takes", query=took, unit="s"),
            Column(title="Failed, 24 h", query=errors, unit="short"),
        ],
        empty="no targets: list your systems in cluster-ai.yml",
        sort="System",
        descending=False,
    )


def _services() -> Any:
    versions = " or ".join(
        f"max by (job, instance, version) ({metric}_build_info)"
        for metric in ("cluster_ai_exporter", "prometheus", "alertmanager", "node_exporter", "grafana")
    )
    return table(
        "What runs here?",
        description="The parts of the monitoring, their versions, and since when each runs. Parts that started "
        "together were restarted together; one that is younger than the rest may have crashed.",
        columns=[
            Column(title="Part", field="job"),
            Column(title="Address", field="instance"),
            Column(title="Version", field="version", query=versions),
            Column(
                title="Started",
                query='max by (job, instance) (process_start_time_seconds{job!="native"}) * 1000',
                unit="dateTimeFromNow",
            ),
        ],
        empty="the parts are not scraped",
        sort="Part",
        descending=False,
    )


def _numbers(limits: Mapping[str, float]) -> str:
    lines = [f"| `{name}` | {value:g} |" for name, value in limits.items()]
    return "\n".join(("| Threshold | in force |", "|---|---|", *lines))
