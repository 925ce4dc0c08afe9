"""Alerts: what is wrong, since when, and does anybody hear of it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import AMBER, RED, Page, Query, State, above, choice, plain, row, stat, text
from dashboards.kit.house import GREEN
from dashboards.kit.language import say
from dashboards.pages import fired, firing, notified, queries
from dashboards.pages.common import restarts_and_alerts

_WORDS = """\
[Rules and their state](/alerting/list?dataSource=Prometheus) ·
[What Alertmanager holds](/alerting/groups?alertmanager=Alertmanager) ·
[Silences: by whom, until when](/alerting/silences?alertmanager=Alertmanager) ·
[New silence](/alerting/silence/new?alertmanager=Alertmanager) ·
[Runbooks](/d/cluster-ai-runbooks)

To acknowledge is to silence: Operators and Admins may. Grafana sends a Viewer who tries back to the home page.
"""


def page(_limits: Mapping[str, float]) -> Page:
    """What fires; what fired; whether messages arrive; all there could be."""
    return Page(
        uid="alerts",
        title="Alerts",
        question="What is wrong, since when, and does anybody hear of it?",
        variables=[
            choice(
                "alert",
                "Alert",
                "label_values(cluster_ai:alert:info, alertname)",
                description="Narrows this page to some alerts.",
            )
        ],
        span="24h",
        refresh="15s",
        rows=[
            row(4, *_tiles()),
            row(8, firing.now()),
            row(3, text("", say(_WORDS))),
            row(8, fired.history()),
            row(8, fired.when()),
            row(7, *notified.panels()),
            row(6, *notified.by_sms()),
            row(12, firing.catalogue()),
        ],
        annotations=restarts_and_alerts(),
    )


def _tiles() -> list[Any]:
    return [
        *(
            stat(
                title,
                description=f"Alerts of severity {severity} that fire now, acknowledged ones included. 0 is good. "
                "`no rules`: Prometheus has none, so nothing is watched.",
                unit="none",
                queries=[Query(queries.FIRING.format(severity=severity))],
                levels=above(1, worst=color),
                empty="no rules",
                filled=True,
            )
            for severity, title, color in (("critical", "Critical", RED), ("warning", "Warnings", AMBER))
        ),
        stat(
            "Acknowledged",
            description="Alerts that fire while somebody has silenced them. They are told to nobody until the silence "
            "ends; the table below says when that is.",
            unit="none",
            queries=[
                Query(
                    "count(cluster_ai_alert_silenced_until_timestamp_seconds) or "
                    'sum(alertmanager_alerts{state="suppressed"}) * 0'
                )
            ],
            levels=plain(),
            empty="no Alertmanager",
        ),
        stat(
            "Silences",
            description="Silences in force. Forgotten ones hide new trouble; the links below list them with their "
            "authors and ends.",
            unit="none",
            queries=[Query('sum(alertmanager_silences{state="active"})')],
            levels=plain(),
            empty="no Alertmanager",
        ),
        stat(
            "Undelivered, 24 h",
            description="Messages within a day that Alertmanager or the SMS bridge could not deliver. Anything but 0 "
            "means that people did not hear: see `Do messages go out?`.",
            unit="none",
            queries=[Query(notified.FAILED.format(window="24h"))],
            levels=above(1),
            empty="no Alertmanager",
        ),
        stat(
            "Alerting",
            description="Whether rules are evaluated and Prometheus has an Alertmanager to send to: the alert Watchdog "
            "fires always, to show just that. Broken: alerts reach nobody.",
            unit="none",
            queries=[
                Query(
                    'max(ALERTS{alertname="Watchdog", alertstate="firing"})'
                    " * min(prometheus_notifications_alertmanagers_discovered > bool 0)"
                )
            ],
            levels=plain(),
            states=[State(0, "Broken", RED), State(1, "Works", GREEN)],
            empty="no rules",
            filled=True,
        ),
    ]
