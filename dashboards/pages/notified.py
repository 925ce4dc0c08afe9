"""Whether people hear of what fires."""

from __future__ import annotations

from typing import Any

from dashboards.kit import Query, plain, timeseries
from dashboards.kit.house import GREEN

FAILED = "sum(round(increase(alertmanager_notifications_failed_total[{window}])))"


def panels() -> list[Any]:
    """From Prometheus through Alertmanager to people."""
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
            empty="no message was sent within the hour",
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
            description="Alerts that Alertmanager knows: active ones are told, suppressed ones held back by a silence, "
            "a muted time or a worse alert.",
            unit="none",
            queries=[Query("sum by (state) (alertmanager_alerts)", "{{state}}")],
            levels=plain(GREEN),
            empty="no Alertmanager",
        ),
    ]
