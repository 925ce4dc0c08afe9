"""Alertmanager's API and what it and the SMS bridge count, as far as a test needs them."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PATIENCE = 10.0  # s for one call
_MAIL = {"integration": "email"}
_ATTEMPTS = "alertmanager_notification_requests_total"
_FAILED = "alertmanager_notification_requests_failed_total"
_RESULTS = "cluster_ai_sms_messages_total"


class UnreachableError(Exception):
    """A part of the stack does not answer; `str()` says which, for people."""


class Counters:
    """A running Alertmanager, and its bridge where there is one. To be closed, or used in `with`."""

    def __init__(self, alertmanager: str, bridge: str | None) -> None:
        self.alertmanager = alertmanager.rstrip("/")
        self._bridge = bridge
        # A proxy for the world outside knows nothing of this machine.
        self._client = httpx.Client(timeout=_PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def post(self, alert: dict[str, Any]) -> None:
        """Gives an alert to Alertmanager. Raises UnreachableError, also when it is refused."""
        url = f"{self.alertmanager}/api/v2/alerts"
        self._call("Alertmanager", lambda: self._client.post(url, json=[alert]))

    def mails(self) -> tuple[float, float]:
        """Mails that the mail server took, and attempts that failed, since Alertmanager's start."""
        text = self._call("Alertmanager", lambda: self._client.get(f"{self.alertmanager}/metrics"))
        attempts, failed = (_sum(text, name, _MAIL) for name in (_ATTEMPTS, _FAILED))
        return attempts - failed, failed

    def sms(self) -> dict[str, float]:
        """What became of messages to phones since the bridge's start, by result; nothing without a bridge."""
        if self._bridge is None:
            return {}
        url = f"{self._bridge}/metrics"
        text = self._call("the SMS bridge", lambda: self._client.get(url))
        return {labels["result"]: value for labels, value in _samples(text, _RESULTS)}

    def _call(self, who: str, call: Any) -> str:
        try:
            answer: httpx.Response = call()
        except httpx.HTTPError as error:
            address = self._bridge if "bridge" in who else self.alertmanager
            said = str(error) or type(error).__name__
            raise UnreachableError(f"{who} does not answer at {address}: {said}; is the stack up?") from None
        if answer.is_error:
            raise UnreachableError(f"{who} refused: {answer.text.strip()[:200]} (HTTP {answer.status_code})")
        return answer.text


def _samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]


def _sum(text: str, name: str, labels: dict[str, str]) -> float:
    return sum(value for found, value in _samples(text, name) if labels.items() <= found.items())
