"""Alerts: what is wrong, since when, and does anybody hear of it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import (
    AMBER,
    RED,
    Column,
    Page,
    Query,
    State,
    above,
    plain,
    row,
    stat,
    table,
    text,
    timeseries,
)
from dashboards.kit.house import GREEN
from dashboards.pages import queries
from dashboards.pages.common import restarts_and_alerts

_NO_RULES = "no rules"
_LABELS = "alertname, severity, system, target, host"
_FIRING = f'max by ({_LABELS}) (ALERTS{{alertstate="firing"}})'
_WORDS = """\
**This version has no alert rules of its own yet**, so nothing fires and nobody is told: the tiles above say `no rules`
until Prometheus has some. Rules of yours are shown here as soon as Prometheus loads them, with the labels `severity`,
`system`, `target` and `host`.

[Rules and their state](/alerting/list?dataSource=Prometheus) ·
[What Alertmanager has](/alerting/groups?alertmanager=Alertmanager) ·
[Silences: by whom, until when](/alerting/silences?alertmanager=Alertmanager) ·
[New silence](/alerting/silence/new?alertmanager=Alertmanager) (Operators and Admins)
"""


def page(_limits: Mapping[str, float]) -> Page:
    """What fires; where to acknowledge it; whether messages arrive."""
    return Page(
        uid="alerts",
        title="Alerts",
        question="What is wrong, since when, and does anybody hear of it?",
        span="24h",
        refresh="15s",
        rows=[
            row(4, *_tiles()),
            row(3, text("", _WORDS)),
            row(8, _firing(), _history()),
            row(7, *_notifications()),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles() -> list[Any]:
    def firing(severity: str, title: str, color: str) -> Any:
        return stat(
            title,
            description=f"Alerts of severity {severity} that fire now. 0 is good. `{_NO_RULES}`: Prometheus has none, "
            "so this watches nothing yet.",
            unit="none",
            queries=[Query(queries.FIRING.format(severity=severity))],
            levels=above(1, worst=color),
            empty=_NO_RULES,
            filled=True,
        )

    return [
        firing("critical", "Critical", RED),
        firing("warning", "Warnings", AMBER),
        stat(
            "Rules",
            description="Alert and recording rules that Prometheus evaluates.",
            unit="none",
            queries=[Query("sum(prometheus_rule_group_rules)")],
            levels=plain(),
            empty="none",
        ),
        stat(
            "Silences",
            description="Silences in force: alerts that somebody said they have. Forgotten ones hide new trouble; the "
            "link below lists them with their authors and ends.",
            unit="none",
            queries=[Query('sum(alertmanager_silences{state="active"})')],
            levels=plain(),
            empty="no Alertmanager",
        ),
        stat(
            "Messages failed",
            description="Messages that Alertmanager could not deliver within the hour. Anything but 0 means that "
            "people did not hear: see Alertmanager's log.",
            unit="none",
            queries=[Query("sum(round(increase(alertmanager_notifications_failed_total[1h])))")],
            levels=above(1),
            empty="no Alertmanager",
        ),
        stat(
            "Alertmanagers",
            description="Alertmanagers that Prometheus sends to. 0: alerts reach nobody.",
            unit="none",
            queries=[Query("min(prometheus_notifications_alertmanagers_discovered)")],
            levels=plain(),
            states=[State(0, "None", RED)],
            empty="not scraped",
        ),
    ]


def _firing() -> Any:
    return table(
        "What fires now?",
        description="Each alert that fires, the newest last, with the time since when. Empty is good once there are "
        "rules. Operators acknowledge through `New silence`.",
        columns=[
            Column(title="Alert", field="alertname"),
            Column(title="Severity", field="severity", query=_FIRING),
            Column(title="System", field="system"),
            Column(title="Target", field="target"),
            Column(title="Host", field="host"),
            Column(
                title="Since",
                query=f"max by ({_LABELS}) (ALERTS_FOR_STATE) * 1000 and {_FIRING}",
                unit="dateTimeFromNow",
            ),
        ],
        empty="nothing fires",
        sort="Since",
        descending=False,
    )


def _history() -> Any:
    return timeseries(
        "What fired, and how long?",
        description="How many alerts of each name fired. Those that begin together have one cause; the one that "
        "began first is where to look.",
        unit="none",
        queries=[Query('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}")],
        levels=plain(),
        empty="nothing fired",
        stacked=True,
    )


def _notifications() -> list[Any]:
    return [
        timeseries(
            "Do messages go out?",
            description="Messages within the hour before, by way. Failed ones were tried again and given up.",
            unit="none",
            queries=[
                Query(
                    "sum by (integration) (round(increase(alertmanager_notifications_total[1h]))) > 0",
                    "{{integration}}",
                ),
                Query(
                    "sum by (integration) (round(increase(alertmanager_notifications_failed_total[1h]))) > 0",
                    "{{integration}}: failed",
                ),
            ],
            levels=plain(),
            empty="no message was sent: no receivers are configured in this version",
        ),
        timeseries(
            "Do alerts reach Alertmanager?",
            description="Alerts that Prometheus sent, and those it failed to send or dropped, a second. Sent alerts "
            "repeat while they fire. Errors with nothing sent: Alertmanager is down.",
            unit="ops",
            queries=[
                Query("sum(rate(prometheus_notifications_sent_total[$__rate_interval]))", "sent", "15s"),
                Query("sum(rate(prometheus_notifications_errors_total[$__rate_interval]))", "failed", "15s"),
                Query("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "dropped", "15s"),
            ],
            levels=plain(),
            empty="Prometheus is not scraped, or has no Alertmanager",
        ),
        timeseries(
            "What does Alertmanager hold?",
            description="Alerts that Alertmanager knows, by whether they are told or held back by a silence or another "
            "alert.",
            unit="none",
            queries=[Query("sum by (state) (alertmanager_alerts)", "{{state}}")],
            levels=plain(GREEN),
            empty="no Alertmanager",
        ),
    ]
