"""Which alerts fire, and when, as Prometheus says it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import httpx

from tests.outages.judging import Firing

_EVERY = 0.3  # s
_IGNORED = frozenset(
    {
        *("Watchdog", "MonitoringExporterDown", "MonitoringTargetMissing"),  # always there, or about what nobody runs
        "MonitoringRulesLate",  # of a busy machine at a faster clock
        "MonitoringRestarting",  # of one fault after the other within what is an hour
    }
)
_OURS = ("Monitoring", "HostDisk", "HostFilesystem")


class Alerts:
    """Asks Prometheus all the time; `begin` forgets what was."""

    def __init__(self, prometheus: str) -> None:
        self._url = f"http://{prometheus}/api/v1/alerts"
        self._firing: dict[str, Firing] = {}
        self._waiting: set[str] = set()
        self._looked = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def begin(self) -> None:
        self._firing = {}

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    @property
    def seen(self) -> dict[str, Firing]:
        """What has fired since `begin`."""
        return dict(self._firing)

    def fires(self, name: str) -> bool:
        return name in self._firing

    def calm_since(self, moment: float) -> bool:
        """Whether a look after that moment found nothing that fires or is about to."""
        ends = all(firing.ended is not None for firing in self._firing.values())
        return self._looked > moment and ends and not self._waiting

    def _follow(self) -> None:
        while not self._done.wait(_EVERY):
            with suppress(httpx.HTTPError, KeyError):
                begun = time.monotonic()
                answer = httpx.get(self._url, trust_env=False, timeout=10).raise_for_status()
                self._take(answer.json()["data"]["alerts"], begun)

    def _take(self, alerts: list[dict[str, object]], now: float) -> None:
        found: dict[str, set[object]] = {"firing": set(), "pending": set()}
        for alert in alerts:
            labels = alert["labels"]
            assert isinstance(labels, dict)
            name = str(labels["alertname"])
            if name.startswith(_OURS) and name not in _IGNORED:
                found[str(alert["state"])].add(name)
        for name in found["firing"]:
            before = self._firing.get(str(name))
            self._firing[str(name)] = Firing(before.begun if before else now)
        for name, firing in self._firing.items():
            if name not in found["firing"] and firing.ended is None:
                self._firing[name] = Firing(firing.begun, now)
        self._waiting = {str(name) for name in found["pending"]}
        self._looked = now
