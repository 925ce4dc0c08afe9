"""Whether people hear of what fires."""

from __future__ import annotations

from typing import Any

from dashboards.kit import Query, plain, timeseries
from dashboards.kit.colors import VERMILION
from dashboards.kit.house import GREEN

# What Alertmanager gave up, and people whom the bridge reached neither by SMS nor by mail.
FAILED = """sum(round(increase(alertmanager_notifications_failed_total[{window}]))
    or round(increase(cluster_ai_sms_mails_total{{result="failed"}}[{window}])))"""


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


def by_sms() -> list[Any]:
    """Through the bridge to a phone, and to whoever calls when all of this is dead."""
    return [
        timeseries(
            "What became of SMS?",
            description="Messages for phones within the hour before. sent: the provider took it. waiting: it will be "
            "tried again. refused, unknown and capped went by mail instead. duplicate: told before, so not again.",
            unit="none",
            queries=[
                Query("sum by (result) (round(increase(cluster_ai_sms_messages_total[1h]))) > 0", "{{result}}"),
                Query(
                    'sum(round(increase(cluster_ai_sms_mails_total{result="failed"}[1h]))) > 0',
                    "told neither by SMS nor by mail",
                ),
            ],
            levels=plain(),
            empty="no SMS within the hour",
            colors={"told neither by SMS nor by mail": VERMILION},
        ),
        timeseries(
            "How fast do SMS leave?",
            description="From Alertmanager's request until the provider has the SMS, for nineteen in twenty of the "
            "last hour. Seconds are good; tens of seconds mean that the provider is slow or refuses at first.",
            unit="s",
            queries=[
                Query(
                    "histogram_quantile(0.95, sum by (le) (rate(cluster_ai_sms_send_duration_seconds_bucket[1h])))",
                    "19 of 20",
                )
            ],
            levels=plain(),
            empty="no SMS within the hour",
        ),
        timeseries(
            "Does the outside hear from us?",
            description="Time since the service elsewhere last took our sign of life: it calls you when there is none "
            "for too long. A line that climbs without end: the way out is closed, or alerting is broken.",
            unit="s",
            queries=[
                Query(
                    "time() - max(cluster_ai_heartbeat_last_success_timestamp_seconds > 0)",
                    "since the last sign of life",
                )
            ],
            levels=plain(),
            empty="no heartbeat: see notifications in cluster-ai.yml",
        ),
    ]
