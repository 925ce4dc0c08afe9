"""The exporter's own metrics, by prometheus-client: `cluster_ai_exporter_*`, `process_*`, `python_*`."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.door.settings import WebSettings
from exporter.fleet import Fleet
from provisioning.config.targets import SYSTEMS

VERSION = version("cluster-ai-dashboard")
"""Ours, read once: an upgrade under a running exporter takes the file away that says it."""


class SelfMetrics:
    """What the exporter says about itself."""

    def __init__(self, fleet: Fleet, settings: WebSettings | None = None) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(_FleetCollector(fleet))
        self._registry.register(_DoorCollector(settings or WebSettings(None)))
        self._requests = Counter(
            "cluster_ai_exporter_http_requests",
            "Requests answered, by endpoint and status.",
            ["handler", "code"],
            registry=self._registry,
        )

    def answered(self, handler: str, code: int) -> None:
        """Count one answer of an endpoint."""
        self._requests.labels(handler, str(code)).inc()

    def text(self, *, openmetrics: bool) -> str:
        """The exposition; OpenMetrics with its closing `# EOF`."""
        generate = generate_openmetrics if openmetrics else generate_latest
        return generate(self._registry).decode()


def certificate_expiry(end: float) -> Metric:
    """When our own certificate ends, in seconds since the epoch."""
    return GaugeMetricFamily(
        "cluster_ai_exporter_tls_certificate_expiry_timestamp_seconds",
        "When the certificate of this exporter's own pages ends; absent without TLS.",
        value=end,
    )


class _FleetCollector(Collector):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        fleet = self._fleet
        build = GaugeMetricFamily(
            "cluster_ai_exporter_build_info", "Version of the exporter and its Python.", labels=["version", "python"]
        )
        build.add_metric([VERSION, platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily(
            "cluster_ai_exporter_config_last_reload_successful",
            "1 when the configuration file was read without error the last time, 0 when an older one is in use.",
            value=float(fleet.reload_error is None),
        )
        yield GaugeMetricFamily(
            "cluster_ai_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read.",
            value=fleet.loaded,
        )
        targets = GaugeMetricFamily(
            "cluster_ai_exporter_targets",
            "Targets this exporter watches: all that are configured, or those of its shard.",
            labels=["system"],
        )
        watched = [system for system, _ in fleet.targets()]
        for system in SYSTEMS:
            targets.add_metric([system], watched.count(system))
        yield targets
        if fleet.shard is not None:
            shard = GaugeMetricFamily(
                "cluster_ai_exporter_shard_info",
                "Always 1; which of several exporters this is, and how many share the configuration.",
                labels=["shard", "shards"],
            )
            shard.add_metric([str(fleet.shard.index), str(fleet.shard.count)], 1)
            yield shard
        series = GaugeMetricFamily(
            "cluster_ai_exporter_target_series",
            "Series the last look at a target gave, without those every target has.",
            labels=["target", "system"],
        )
        for name, watch in fleet.watches.items():
            if watch.last is not None:
                series.add_metric([name, watch.collector.system], watch.last.series)
        yield series


class _DoorCollector(Collector):
    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        loaded = self._settings.now()
        yield GaugeMetricFamily(
            "cluster_ai_exporter_web_config_last_reload_successful",
            "1 when the web configuration and its certificates were read without error, 0 when older ones are in use.",
            value=float(self._settings.error is None),
        )
        yield GaugeMetricFamily(
            "cluster_ai_exporter_web_config_last_reload_success_timestamp_seconds",
            "When the web configuration in use was read, or the exporter started without one.",
            value=self._settings.loaded,
        )
        if loaded.ends is not None:
            yield certificate_expiry(loaded.ends)
