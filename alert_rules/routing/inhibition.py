"""Which alerts are not told because another one says why: the root cause, or the graver of two about one thing.

An inhibited alert still shows on the pages. Two labels that are both missing count as equal in Alertmanager, so every
label by which two alerts belong together must be there on the one that hides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alert_rules.routing.matching import differs, equals, one_of
from alert_rules.routing.names import TEST
from alert_rules.writing import LABELS


@dataclass(frozen=True, slots=True)
class Cause:
    """An alert whose fault brings others about."""

    alert: str
    same: tuple[str, ...] = ("target",)
    """Labels that its consequences share with it."""
    system: str = ""
    """All other alerts of this system are its consequences."""
    alerts: tuple[str, ...] = ()
    """Its consequences by name; neither given: all alerts with the same labels."""


_SLOW_FIRST_TOKEN = ("OllamaProxyFirstTokenBurnFast", "OllamaProxyFirstTokenBurnSlow")
CAUSES = (
    # A machine that is gone takes everything on it along, a system that does not answer all else that ails it.
    Cause("HostDown", same=("host",)),
    # Whose certificate is refused counts as down, and that is why.
    Cause("MonitoringCertificateRefused"),
    Cause("MonitoringCertificateExpiring", alerts=("MonitoringCertificateExpiringSoon",)),
    Cause("DaskSchedulerDown", system="dask"),
    Cause("OllamaDown", system="ollama"),
    Cause("OpenWebUIDown", system="openwebui"),
    # What a scheduler that does not get to its work brings about.
    Cause(
        "DaskSchedulerLoopBlocked",
        alerts=(
            *("DaskSchedulerLoopSlow", "DaskSchedulerUnsteady", "DaskWorkerSilent"),
            *("DaskPartlyBlind", "DaskStalled", "DaskTaskStuck"),
        ),
    ),
    Cause("DaskSchedulerUnsteady", alerts=("DaskSchedulerRestarted", "DaskScatteredDataLost")),
    # Without workers nothing else can go on; many that die are one fault, and memory is why.
    Cause(
        "DaskNoWorkers",
        alerts=("DaskManyWorkersLost", "DaskWorkersLost", "DaskStalled", "DaskTasksUnrunnable", "DaskTaskStuck"),
    ),
    Cause("DaskManyWorkersLost", alerts=("DaskWorkersLost", "DaskWorkersOutOfMemory", "DaskScatteredDataLost")),
    Cause("DaskWorkersOutOfMemory", alerts=("DaskWorkersLost", "DaskWorkerMemoryFull", "DaskWorkerMemoryHigh")),
    Cause(
        "DaskMostWorkersPaused",
        alerts=("DaskWorkersPaused", "DaskWorkerMemoryFull", "DaskWorkerMemoryHigh", "DaskStalled"),
    ),
    Cause("DaskWorkersPaused", alerts=("DaskWorkerMemoryFull", "DaskWorkerMemoryHigh")),
    Cause("DaskWorkerMemoryFull", alerts=("DaskWorkerMemoryHigh",)),
    Cause("DaskStalled", alerts=("DaskTaskStuck",)),
    Cause("DaskServiceLevelBurnFast", alerts=("DaskServiceLevelBurnSlow", "DaskTasksFailing")),
    Cause(
        "OllamaGenerationHung", same=("target", "model"), alerts=("OllamaGenerationFailing", "OllamaModelAlwaysBusy")
    ),
    Cause("OllamaModelMissing", same=("target", "model"), alerts=("OllamaModelNotLoaded",)),
    Cause("OllamaServiceLevelBurnFast", alerts=("OllamaServiceLevelBurnSlow",)),
    # What people meet at the proxy, and why.
    Cause("OllamaGenerationHung", alerts=("OllamaProxyQueueGrowing", *_SLOW_FIRST_TOKEN)),
    Cause("OllamaModelsThrashing", alerts=("OllamaProxyColdStarts", *_SLOW_FIRST_TOKEN)),
    Cause("OllamaProxyColdStarts", alerts=_SLOW_FIRST_TOKEN),
    Cause("OllamaProxyQueueGrowing", alerts=_SLOW_FIRST_TOKEN),
    Cause("OllamaProxyErrorsBurnFast", alerts=("OllamaProxyErrorsBurnSlow",)),
    Cause("OllamaProxyFirstTokenBurnFast", alerts=("OllamaProxyFirstTokenBurnSlow",)),
    Cause("OpenWebUINotReady", alerts=("OpenWebUINoModels", "OpenWebUIPartlyBlind")),
    Cause("OpenWebUINoBackend", alerts=("OpenWebUIBackendDown", "OpenWebUIBackendSlow", "OpenWebUINoModels")),
    Cause("OpenWebUIServiceLevelBurnFast", alerts=("OpenWebUIServiceLevelBurnSlow",)),
    # The later stage of what was told before.
    Cause("HostDiskFull", same=("host", "mountpoint"), alerts=("HostDiskFullSoon", "HostDiskFillingUp")),
    Cause("HostDiskFullSoon", same=("host", "mountpoint"), alerts=("HostDiskFillingUp",)),
    Cause("HostMemoryFull", same=("host",), alerts=("HostMemoryHigh", "HostMemoryPressure")),
    Cause("HostOverheating", same=("host",), alerts=("HostHot",)),
    Cause("HostGpuLost", same=("host",), alerts=("HostGpuExporterDown",)),
    # Of the monitoring itself: a part that is down is why its numbers are missing.
    Cause(
        "MonitoringExporterDown",
        same=(),
        alerts=(
            "MonitoringTargetMissing",
            "MonitoringScrapeSlow",
            "MonitoringCollectorStale",
            "MonitoringNativeScrapesFailing",
            "MonitoringSeriesDropped",
        ),
    ),
    Cause(
        "MonitoringProbeFailing",
        alerts=("MonitoringTargetMissing", "MonitoringScrapeSlow", "MonitoringCollectorStale"),
    ),
    Cause("MonitoringSmsBridgeDown", same=(), alerts=("MonitoringSmsFailing", "MonitoringHeartbeatFailing")),
    Cause("MonitoringAlertmanagerDown", same=(), alerts=("MonitoringAlertsUndelivered",)),
    Cause("MonitoringBackupMissing", same=("host",), alerts=("MonitoringBackupLate",)),
    # Of a production stack: who has no door, or no database, need not hear that nobody gets in.
    Cause("MonitoringDoorDown", same=(), alerts=("MonitoringDoorErrors", "MonitoringDoorUnreachable")),
    Cause("MonitoringCertificateExpired", same=(), alerts=("MonitoringDoorUnreachable",)),
    Cause(
        "MonitoringDatabaseDown",
        same=(),
        alerts=("MonitoringGrafanaDatabaseFailing", "MonitoringDoorErrors", "MonitoringDatabaseConnectionsHigh"),
    ),
    Cause(
        "MonitoringStorageFailing",
        same=(),
        alerts=("MonitoringCompactionFailing", "MonitoringRulesFailing", "MonitoringRulesLate"),
    ),
)


def inhibitions() -> list[dict[str, Any]]:
    """Alertmanager's inhibit_rules."""
    return [*_graver(), *map(_rule, CAUSES)]


def _graver() -> Iterator[dict[str, Any]]:
    """Of one alert at two severities, the graver is told."""
    for graver, lesser in (("critical", ("warning", "info")), ("warning", ("info",))):
        yield {
            "source_matchers": [equals("severity", graver), equals(TEST, "")],
            "target_matchers": [one_of("severity", lesser), equals(TEST, "")],
            "equal": ["alertname", "cluster", "system", *LABELS],
        }


def _rule(cause: Cause) -> dict[str, Any]:
    """A test must neither hide what is real nor be hidden by it."""
    if cause.alerts:
        consequences = [one_of("alertname", cause.alerts)]
    else:
        consequences = [differs("alertname", cause.alert), *([equals("system", cause.system)] if cause.system else [])]
    there = [differs(label) for label in cause.same]
    return {
        "source_matchers": [equals("alertname", cause.alert), *there, equals(TEST, "")],
        "target_matchers": [*consequences, equals(TEST, "")],
        "equal": ["cluster", *cause.same],
    }
