"""Which alerts are acknowledged, and until when: Alertmanager shows that to people and in no metric of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from exporter.client.http import HttpClient
from exporter.errors import CollectError
from exporter.families import Family, Labels, gauge
from provisioning.config.addresses import dial_address
from provisioning.config.targets import TlsFiles

LABELS = ("alertname", "severity", "system", "target", "host", "worker", "model", "backend")
"""The labels of an alert that its series keep: those that pages join by."""
MOST = 1_000
"""Most alerts told; a page of more is read by nobody."""
_SUPPRESSED = "/api/v2/alerts?active=false&unprocessed=false&silenced=true&inhibited=true"
_SILENCES = "/api/v2/silences"
_PATIENCE = 0.4  # s for each of two calls: what we say of ourselves does not wait for an Alertmanager that hangs


class Silences:
    """What one Alertmanager holds back."""

    def __init__(self, address: str) -> None:
        """`address` is where Alertmanager listens, HOST:PORT."""
        self._http = HttpClient(f"http://{dial_address(address)}", TlsFiles())

    async def families(self) -> list[Family]:
        """Each alert that is held back; without Alertmanager's answer only that there was none."""
        try:
            alerts = await self._http.json(_SUPPRESSED, timeout=_PATIENCE)
            silences = await self._http.json(_SILENCES, timeout=_PATIENCE)
            found = read(alerts, silences)
        except (CollectError, TypeError, KeyError, ValueError, AttributeError):
            return [reached(up=False)]
        return [reached(up=True), *found]

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def reached(*, up: bool) -> Family:
    """Whether the rest is known."""
    family = gauge(
        "cluster_ai_exporter_alertmanager_up",
        "1 when Alertmanager told which alerts are acknowledged, 0 when it did not and they are not known.",
    )
    family.add(float(up))
    return family


def read(alerts: Sequence[Mapping[str, Any]], silences: Sequence[Mapping[str, Any]]) -> list[Family]:
    """The families, from the answers of /api/v2/alerts and /api/v2/silences.

    Raises TypeError, KeyError, ValueError or AttributeError for an answer that has not their form. Where several
    silences hold an alert back, the last to end counts; so it does where alerts differ in other labels alone.
    """
    ends = {str(one["id"]): datetime.fromisoformat(one["endsAt"]).timestamp() for one in silences}
    until: dict[tuple[tuple[str, str], ...], float] = {}
    inhibited: set[tuple[tuple[str, str], ...]] = set()
    for alert in alerts[:MOST]:
        pairs = tuple((name, str(alert["labels"][name])) for name in LABELS if name in alert["labels"])
        status = alert["status"]
        known = [ends[one] for one in status["silencedBy"] if one in ends]
        if known:
            until[pairs] = max(*known, until.get(pairs, 0.0))
        if status["inhibitedBy"]:
            inhibited.add(pairs)
    silenced_until = gauge(
        "cluster_ai_alert_silenced_until_timestamp_seconds",
        "When the acknowledgement of an alert that fires ends; absent for one that nobody has acknowledged.",
    )
    for pairs, end in until.items():
        silenced_until.add(end, Labels(**dict(pairs)))
    held = gauge(
        "cluster_ai_alert_inhibited",
        "Always 1; an alert that fires and is not told because a worse one, which explains it, fires too.",
    )
    for pairs in inhibited:
        held.add(1, Labels(**dict(pairs)))
    return [silenced_until, held]
