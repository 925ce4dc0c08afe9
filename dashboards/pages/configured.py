"""What the configuration says: the tables of the Settings page."""

from __future__ import annotations

from typing import Any

from dashboards.kit import Column, table
from dashboards.pages import queries


def watched() -> Any:
    """The targets."""
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


def services() -> Any:
    """The parts of the monitoring."""
    told = [
        f"{metric}_build_info"
        for metric in ("cluster_ai_exporter", "prometheus", "alertmanager", "node_exporter", "grafana")
    ]
    # Of a production stack: the version of the database and the cache themselves, of nginx only its exporter's.
    told.append('label_replace(pg_static, "version", "$1", "short_version", "(.+)")')
    told.append('label_replace(redis_instance_info, "version", "$1", "redis_version", "(.+)")')
    told += [f"{metric}_build_info" for metric in ("nginxexporter", "mtail")]
    versions = " or ".join(f"max by (job, instance, version) ({metric})" for metric in told)
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
                width=130,
            ),
        ],
        empty="the parts are not scraped",
        sort="Part",
        descending=False,
    )


def people() -> Any:
    """Who is told."""
    return table(
        "Who is told of what?",
        description="The people of cluster-ai.yml and which alerts reach each by which way, where a route does not say "
        "otherwise. `cluster-ai alerts routes NAME` says for one alert who is told when.",
        columns=[
            Column(
                title="Person",
                field="person",
                query="max by (person, role, by_mail, by_sms, teams) (cluster_ai:person:info)",
            ),
            Column(title="Role", field="role"),
            Column(title="By mail", field="by_mail"),
            Column(title="By SMS", field="by_sms"),
            Column(title="Teams", field="teams"),
        ],
        empty="nobody: list people in cluster-ai.yml",
        sort="Person",
        descending=False,
    )


def ways() -> Any:
    """How messages leave."""
    return table(
        "How do messages leave?",
        description="The accounts that messages leave by. The Alerts page says whether they go out.",
        columns=[
            Column(title="Way", field="way", query="max by (way, through) (cluster_ai:way:info)"),
            Column(title="Through", field="through"),
        ],
        empty="none: see notifications in cluster-ai.yml",
        sort="Way",
        descending=False,
    )


def numbers() -> Any:
    """The thresholds."""
    everything = '{__name__=~"cluster_ai:threshold:.+"}'
    named = f'label_replace({everything}, "threshold", "$1", "__name__", "cluster_ai:threshold:(.+)")'
    return table(
        "Which numbers are in force?",
        description="The thresholds that alerts and colours go by, in the unit their names end in; a ratio is of 1. "
        "A line with a target holds for that target alone.",
        columns=[
            Column(title="Threshold", field="threshold", width=330),
            Column(title="Only for", field="target"),
            Column(title="In force", query=f"max by (threshold, target) ({named})", unit="string"),
        ],
        empty="no rules",
        sort="Threshold",
        descending=False,
    )
