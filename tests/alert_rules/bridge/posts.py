"""What Alertmanager posts, made by hand."""

from __future__ import annotations

from typing import Any

from alert_rules.bridge.webhook import Notification

STARTED = "2026-11-23T03:12:00.123456789Z"
ENDED = "2026-11-23T03:40:30Z"


def alert(
    name: str = "DaskSchedulerDown",
    summary: str = "Scheduler main has not answered for 25 s",
    *,
    status: str = "firing",
    severity: str = "critical",
    started: str = STARTED,
    **labels: str,
) -> dict[str, Any]:
    labels = {"alertname": name, "severity": severity, "cluster": "lab", "target": "main", "system": "dask"} | labels
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": summary},
        "startsAt": started,
        "endsAt": ENDED if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{hash(tuple(sorted(labels.items()))) & 0xFFFFFFFFFFFFFFFF:016x}",
    }


def post(*alerts: dict[str, Any], status: str | None = None, group: str = "g", **more: Any) -> dict[str, Any]:
    """A group with one alert unless others are given; it fires while one of them does."""
    alerts = alerts or (alert(),)
    return {
        "version": "4",
        "groupKey": f'{{}}/{{}}:{{target="{group}"}}',
        "truncatedAlerts": 0,
        "status": status or ("firing" if any(one["status"] == "firing" for one in alerts) else "resolved"),
        "receiver": "ana by sms",
        "groupLabels": {"cluster": "lab", "system": "dask", "target": "main"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
    } | more


def notification(*alerts: dict[str, Any], **more: Any) -> Notification:
    return Notification.model_validate(post(*alerts, **more))
