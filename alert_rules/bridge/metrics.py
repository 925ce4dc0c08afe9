"""What the bridge says about itself, by prometheus-client. All counters are at 0 from the start."""

from __future__ import annotations

import platform
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from alert_rules.bridge.provider import REASONS

RESULTS = ("sent", "refused", "unknown", "waiting", "capped", "duplicate")
DELIVERIES = ("delivered", "undelivered", "failed")
_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45, 90)


class Metrics:
    """The bridge's own series."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        build = self._gauge(
            "cluster_ai_sms_bridge_build_info", "Version of the bridge and its Python.", "version", "python"
        )
        build.labels(version("cluster-ai-dashboard"), platform.python_version()).set(1)
        self.messages = self._counter(
            "cluster_ai_sms_messages",
            "Notifications that Alertmanager asked the bridge to send to a person, by what became of them. sent: "
            "the provider took it (a dry run counts too); refused: it will not; unknown: it may have; waiting: it "
            "could not be reached or asked for a pause, and Alertmanager comes again; capped: the hour's SMS are used "
            "up; duplicate: told before. refused, unknown and capped go by mail.",
            "result",
        )
        self.failures = self._counter(
            "cluster_ai_sms_provider_errors",
            "Attempts to hand an SMS to the provider that failed, by reason.",
            "reason",
        )
        self.deliveries = self._counter(
            "cluster_ai_sms_deliveries", "SMS of which the provider said what became of them on the way.", "status"
        )
        self.mails = self._counter(
            "cluster_ai_sms_mails",
            "Mails in place of an SMS. failed: the person was told by neither, or has no address for mail.",
            "result",
        )
        self.heartbeats = self._counter(
            "cluster_ai_heartbeat_pings", "Signs of life passed on to the heartbeat's service.", "result"
        )
        self.ledger_errors = Counter(
            "cluster_ai_sms_ledger_errors",
            "Times the ledger of messages could not be read or written. SMS go out all the same, after a look at what "
            "the provider has.",
            registry=self._registry,
        )
        self.requests = self._counter(
            "cluster_ai_sms_bridge_http_requests", "Requests answered, by endpoint and status.", "handler", "code"
        )
        self.unsettled = self._gauge("cluster_ai_sms_unsettled", "SMS of which it is not known yet whether they left.")
        self.last_sent = self._gauge(
            "cluster_ai_sms_last_sent_timestamp_seconds", "When the provider last took an SMS; 0 before the first."
        )
        self.last_heartbeat = self._gauge(
            "cluster_ai_heartbeat_last_success_timestamp_seconds",
            "When the heartbeat's service last took a sign of life; 0 before the first.",
        )
        self.duration = Histogram(
            "cluster_ai_sms_send_duration_seconds",
            "From Alertmanager's request to the provider having the SMS.",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        for counter, values in (
            (self.messages, RESULTS),
            (self.failures, REASONS),
            (self.deliveries, DELIVERIES),
            (self.mails, ("sent", "failed")),
            (self.heartbeats, ("passed", "failed")),
        ):
            for value in values:
                counter.labels(value)

    def answered(self, handler: str, code: int) -> None:
        """Count one answer of an endpoint."""
        self.requests.labels(handler, str(code)).inc()

    def text(self, *, openmetrics: bool) -> str:
        """The exposition."""
        return (generate_openmetrics if openmetrics else generate_latest)(self._registry).decode()

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self._registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(name, help, labels, registry=self._registry)
