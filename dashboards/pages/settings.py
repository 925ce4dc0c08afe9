"""Settings: what does this installation watch, and how?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Page, Query, State, above, below, heading, plain, row, stat, text
from dashboards.kit.house import AMBER, GREEN, RED
from dashboards.kit.language import say
from dashboards.pages import configured, production

_CHANGES = """\
Everything here comes from one file, `cluster-ai.yml`. Change it, run `cluster-ai check`, then `cluster-ai up` again;
the exporter takes changed targets by itself when it is sent a SIGHUP.

| To change | edit | documented in |
|---|---|---|
| what is watched | `targets:` | docs/configuration.md |
| the numbers above | `alerts: thresholds:` | alert_rules/defaults.yml |
| who is told, and how | `people:`, `teams:`, `notifications:` | docs/configuration.md |
| who may come in | `people:`, `grafana:`, then `cluster-ai grafana apply` | docs/configuration.md |
| how long metrics are kept | `retention:` | docs/configuration.md |
| language and theme | `grafana: language:`, `theme:` | docs/configuration.md |
| where each part listens | `services:` | docs/running.md |

`cluster-ai doctor` says what would make monitoring fail or mislead, `cluster-ai alerts routes` who would be told of an
alert, `cluster-ai alerts test` whether it reaches them.
"""
_CERTIFICATES = [
    *(
        f"{who}_tls_certificate_expiry_timestamp_seconds"
        for who in ("dask", "ollama", "openwebui", "cluster_ai_exporter")
    ),
    'probe_ssl_earliest_cert_expiry{job="door"}',
]
_READ = (State(0, "Old one in use", RED), State(1, "As written", GREEN))


def page(limits: Mapping[str, float]) -> Page:
    """Targets and versions, then people and the numbers in force, and where each is changed."""
    return Page(
        uid="settings",
        title="Settings",
        question="What does this installation watch, how, and where is each thing changed?",
        refresh="15s",
        rows=[
            row(3, *_configuration()),
            row(3, *_kept(limits)),
            row(7, configured.watched(), configured.services(), widths=(14, 10)),
            row(7, configured.people(), configured.ways(), widths=(14, 10)),
            heading("In production", "The door, the databases and the backups of a stack with `production:`."),
            row(3, *production.tiles(limits)),
            row(15, configured.numbers(), text("Where is it changed?", say(_CHANGES))),
        ],
    )


def _configuration() -> list[Any]:
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
            "Config files",
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
            "Looked at every",
            description="Time between two scrapes of a target through the exporter, as it really is. 5 s is what is "
            "configured; much more means that Prometheus cannot keep up.",
            unit="s",
            queries=[Query('max(prometheus_target_interval_length_seconds{interval="5s", quantile="0.5"})')],
            levels=plain(),
            empty="not scraped",
            decimals=0,
        ),
        stat(
            "Rules",
            description="Alert and recording rules that Prometheus evaluates. The Alerts page lists every alert.",
            unit="none",
            queries=[Query("sum(prometheus_rule_group_rules)")],
            levels=plain(),
            empty="none",
        ),
        stat(
            "Failed rules, 1 h",
            description="Evaluations of rules that failed within the hour. Anything but 0: an alert may be blind. See "
            "Prometheus's log.",
            unit="none",
            queries=[Query("sum(round(increase(prometheus_rule_evaluation_failures_total[1h])))")],
            levels=above(1),
            empty="none",
        ),
    ]


def _kept(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "Metrics kept for",
            description="`retention: time:`. Metrics, and with them what fired, go when they are older, or before that "
            "when their room is used up.",
            unit="suffix: days",  # of seconds Grafana would make weeks
            queries=[Query("max(cluster_ai:retention:seconds) / 86400")],
            levels=plain(),
            empty="not told",
        ),
        stat(
            "Disk used",
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
            "People told",
            description="People who get messages: operators and admins with an address, and viewers whom a route "
            "names. 0: alerts fire and nobody hears.",
            unit="none",
            queries=[
                Query(
                    'count(cluster_ai:person:info{by_mail!=""} or cluster_ai:person:info{by_sms!=""})'
                    " or sum(cluster_ai:retention:seconds) * 0"
                )
            ],
            levels=plain(),
            states=[State(0, "nobody", AMBER)],
            empty="not told",
        ),
        stat(
            "Certificates",
            description="Time until the first certificate ends: of a target, of our own exporter, or of the door. From "
            "then on it is refused: renew it before, or see why what renews it does not.",
            unit="s",
            queries=[Query(f"min({' or '.join(_CERTIFICATES)}) - time()")],
            levels=below(limits["certificate_expiring_soon_seconds"], limits["certificate_expiring_seconds"]),
            empty="no TLS",
            decimals=1,
        ),
        stat(
            "Last backup",
            description="Age of the last backup that worked, of the host whose is oldest. One that is missed is no "
            "harm yet; the backup's own log says why it failed.",
            unit="s",
            queries=[Query("time() - min(cluster_ai_backup_last_success_timestamp_seconds)")],
            levels=above(limits["backup_age_seconds"], limits["backup_age_seconds_critical"]),
            empty="no backups",
            decimals=1,
        ),
    ]
