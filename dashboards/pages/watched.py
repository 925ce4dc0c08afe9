"""Which alerts watch what a panel shows: each panel links to its own, on the Alerts page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import to_alerts
from dashboards.kit.language import say

_LOOPS = ("DaskSchedulerLoopSlow", "DaskSchedulerLoopBlocked")
_NATIVE = "MonitoringNativeScrapesFailing"
_FAILING = ("DaskTasksFailing", "DaskServiceLevelBurnFast", "DaskServiceLevelBurnSlow")
_MEMORY = ("HostMemoryHigh", "HostMemoryFull")

WATCHED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "dashboard": {
        "When was what down?": ("DaskSchedulerDown", "OllamaDown", "OpenWebUIDown"),
        "How full are workers?": ("DaskWorkerMemoryHigh", "DaskWorkerMemoryFull"),
        "Host CPU, by day": ("HostCpuOverloaded",),
        "Host memory, by day": _MEMORY,
    },
    "system": {
        "How is each host?": ("HostDown", "HostExporterDown", "HostClockSkewed"),
        "How is each GPU?": ("HostGpuHot", "HostGpuLost", "HostGpuFailing", "HostGpuExporterDown"),
        "How busy are the CPUs?": ("HostCpuOverloaded",),
        "How full is the memory?": (*_MEMORY, "HostOutOfMemoryKill"),
        "What do programs wait for?": ("HostMemoryPressure",),
        "How full are the disks?": (
            *("HostDiskFull", "HostDiskFullSoon", "HostDiskFillingUp"),
            *("HostInodesFull", "HostFilesystemReadOnly"),
        ),
        "How hot is it?": ("HostHot", "HostOverheating"),
        "What could not be scraped?": ("MonitoringExporterDown", "MonitoringProbeFailing", _NATIVE),
        "How long does a look at a target take?": ("MonitoringScrapeSlow",),
        "Does Prometheus keep up?": ("MonitoringRulesFailing", "MonitoringRulesLate", "MonitoringScrapeRefused"),
    },
    "workers": {
        "How is each worker?": (
            *("DaskNoWorkers", "DaskScaleUpStuck", "DaskWorkerSilent"),
            *("DaskWorkersPaused", "DaskMostWorkersPaused"),
        ),
        "Which tasks fail?": _FAILING,
        "Who came and went?": ("DaskWorkersLost", "DaskManyWorkersLost", "DaskWorkersOutOfMemory"),
        "Which workers are fullest?": ("DaskWorkerMemoryHigh", "DaskWorkerMemoryFull", "DaskUnmanagedMemoryHigh"),
        "Who spills to disk?": ("DaskSpillingHard",),
        "Does the scheduler keep up?": _LOOPS,
        "Which workers are blocked?": ("DaskWorkerLoopSlow",),
        "Whose oldest task is old?": ("DaskTaskStuck",),
    },
    "alerts": {
        "Do messages go out?": ("MonitoringMailFailing",),
        "Do alerts reach Alertmanager?": ("MonitoringAlertsUndelivered",),
        "What became of SMS?": ("MonitoringSmsFailing", "MonitoringPersonNotTold"),
        "Does the outside hear from us?": ("MonitoringHeartbeatFailing",),
        "Which alerts are there?": ("MonitoringRulesFailing", "MonitoringRulesLate"),
    },
    "settings": {
        "What is watched?": (
            *("MonitoringProbeFailing", "MonitoringTargetMissing", "MonitoringTargetRemoved"),
            *("MonitoringScrapeSlow", "MonitoringScrapeRefused", "MonitoringSeriesDropped"),
            *("MonitoringCollectorStale", "MonitoringCertificateRefused"),
        ),
        "What runs here?": (
            *("MonitoringExporterDown", "MonitoringAlertmanagerDown", "MonitoringSmsBridgeDown"),
            *("MonitoringGrafanaDown", "MonitoringRestarting"),
            *("MonitoringDatabaseDown", "MonitoringGrafanaDatabaseFailing"),
            *("MonitoringGrafanaOneDown", "MonitoringWatcherDown", "MonitoringRedisDown"),
        ),
        "Door": ("MonitoringDoorDown", "MonitoringDoorUnreachable"),
        "Door errors": ("MonitoringDoorErrors",),
        "Refused, 1 h": ("MonitoringDoorRefusing",),
        "DB sessions": ("MonitoringDatabaseConnectionsHigh",),
        "Redis size": ("MonitoringRedisMemoryFull", "MonitoringRedisNotSaving"),
        "Restore test": ("MonitoringBackupDamaged", "MonitoringBackupUntested"),
        "Config files": ("MonitoringReloadFailed",),
        "Certificates": (
            *("MonitoringCertificateExpiring", "MonitoringCertificateExpiringSoon"),
            *("MonitoringCertificateExpired", "MonitoringCertificateRenewalFailing"),
        ),
        "Last backup": ("MonitoringBackupLate", "MonitoringBackupMissing"),
        "Disk used": ("MonitoringStorageFailing", "MonitoringCompactionFailing", "MonitoringHistoryShort"),
    },
    "dask": {
        "Where are the tasks?": ("DaskStalled", "DaskTasksUnrunnable", "DaskIdle"),
        "Which tasks get done?": (*_FAILING, "DaskTooManyPrefixes"),
        "How many workers are there?": ("DaskNoWorkers", "DaskScaleUpStuck"),
        "Is the memory spread well?": ("DaskWorkerMemoryHigh", "DaskWorkerMemoryFull"),
        "Does anybody block?": (*_LOOPS, "DaskWorkerLoopSlow"),
        "What was lost with workers?": ("DaskScatteredDataLost",),
        "What cannot be read?": ("DaskPartlyBlind", "DaskNativeMetricsMissing", "DaskEventsMissed", _NATIVE),
        "How long does a look take?": ("DaskSchedulerDown", "DaskSchedulerRestarted", "DaskSchedulerUnsteady"),
    },
    "ollama": {
        "Which models are in memory?": ("OllamaModelOnCpu", "OllamaVersionChanged"),
        "Do they answer?": (
            *("OllamaGenerationHung", "OllamaGenerationFailing"),
            *("OllamaRunnersUnsteady", "OllamaModelAlwaysBusy"),
        ),
        "How often are models loaded?": ("OllamaModelsThrashing",),
        "Are the required ones there?": ("OllamaModelMissing", "OllamaModelNotLoaded"),
        "What cannot be read?": ("OllamaPartlyBlind",),
        "How long does a look take?": ("OllamaDown", "OllamaServiceLevelBurnFast", "OllamaServiceLevelBurnSlow"),
    },
    "proxy": {
        "Proxy": ("OllamaProxyDown",),
        "How long until the first word?": ("OllamaProxyFirstTokenBurnFast", "OllamaProxyFirstTokenBurnSlow"),
        "How many starts are cold?": ("OllamaProxyColdStarts",),
        "How do requests end?": ("OllamaProxyErrorsBurnFast", "OllamaProxyErrorsBurnSlow"),
        "Who is turned away?": ("OllamaProxyClientsRefused",),
        "How many ask at once?": ("OllamaProxyQueueGrowing",),
        "What did not fit?": ("OllamaProxyTruncated",),
    },
    "openwebui": {
        "How many people use it?": ("OpenWebUIDown", "OpenWebUINotReady", "OpenWebUIOnboardingPending"),
        "Which backends answer?": ("OpenWebUIBackendDown", "OpenWebUIBackendUnreachable", "OpenWebUINoBackend"),
        "How fast do backends answer?": ("OpenWebUIBackendSlow",),
        "Which models are used?": ("OpenWebUINoModels", "OpenWebUIVersionChanged"),
        "Sign-in needed": ("OpenWebUIAuthDisabled",),
        "Sign-up open": ("OpenWebUISignupOpen",),
        "Monitoring key": ("OpenWebUIKeyRefused",),
        "What cannot be read?": ("OpenWebUIPartlyBlind",),
        "How long does a look take?": ("OpenWebUIServiceLevelBurnFast", "OpenWebUIServiceLevelBurnSlow"),
    },
}
"""By page and by the panel's title in English."""


def link(name: str, page: dict[str, Any]) -> dict[str, Any]:
    """The page, its panels linked to their alerts."""
    watched = {say(title): alerts for title, alerts in WATCHED.get(name, {}).items()}
    for panel in page["panels"]:
        alerts = watched.get(panel["title"], ())
        if alerts:
            panel["links"] = [*panel.get("links", ()), *to_alerts(*alerts)]
    return page
