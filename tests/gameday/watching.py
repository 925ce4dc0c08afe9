"""What Prometheus and the Alertmanagers say of alerts, looked at all the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from provisioning.config.targets import SYSTEMS
from tests.gameday.stack import SECOND
from tests.gameday.stage import Stage

_EVERY = 0.25  # s
_PATIENCE = 2.0  # s for an Alertmanager to answer: what fires must be seen while one hangs, too
_ALWAYS = frozenset({"Watchdog"})
_OWN = frozenset({"alertname", "severity", "system", "cluster"})


@dataclass
class Episode:
    """An alert that fires, from when to when; with other labels it is another."""

    labels: dict[str, str]
    summary: str
    begun: float
    ended: float | None = None
    silenced: bool = False
    """Whether an Alertmanager said that a silence covers it."""

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    @property
    def title(self) -> str:
        where = ",".join(value for key, value in sorted(self.labels.items()) if key not in _OWN)
        return f"{self.name}({where})" if where else self.name

    @property
    def subject(self) -> str:
        """The target or machine that it is about; empty for the stack itself."""
        return self.labels.get("target") or self.labels.get("host") or ""

    def fits(self, name: str, labels: Mapping[str, str]) -> bool:
        return self.name == name and labels.items() <= self.labels.items()


@dataclass
class Watch:
    """Every episode so far."""

    stage: Stage
    episodes: list[Episode] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look_for_ever())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    def firing(self) -> list[Episode]:
        """What fires now, by Prometheus."""
        return [one for one in self.episodes if one.ended is None]

    def since(self, begun: float) -> list[Episode]:
        """What fired at some time since."""
        return [one for one in self.episodes if one.ended is None or one.ended > begun]

    def begun_since(self, begun: float) -> list[Episode]:
        """What began to fire since."""
        return [one for one in self.episodes if one.begun >= begun]

    async def waits(self) -> dict[str, float]:
        """`for` of each alert, as it runs here."""
        groups = (await self._get(f"{self.stage.url('prometheus')}/api/v1/rules"))["data"]["groups"]
        return {
            rule["name"]: float(rule["duration"])
            for group in groups
            for rule in group["rules"]
            if rule["type"] == "alerting"
        }

    async def held(self, service: str) -> list[dict[str, Any]]:
        """What an Alertmanager has, but for the Watchdog; empty while it does not answer."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            found = await self._get(f"{self.stage.url(service)}/api/v2/alerts", _PATIENCE)
            return [one for one in found if one["labels"]["alertname"] not in _ALWAYS]
        return []

    async def left(self, but: Collection[str] = ()) -> list[str]:
        """What fires or is still with an Alertmanager, `but` for what is about these."""
        held = [one for service in ("alertmanager", SECOND) for one in await self.held(service)]
        found = [*self.firing(), *(Episode(one["labels"], "", 0.0) for one in held)]
        return sorted({one.title for one in found if one.subject not in but})

    async def settled(self) -> bool:
        """Whether every target has been up for long enough that ranges have something to hold."""
        asked = (
            "count(min_over_time({__name__=~'(dask_cluster|ollama|openwebui)_up', job='probe'}[10s] offset 1s) == 1)"
        )
        answer = await self.stage.http.get(f"{self.stage.url('prometheus')}/api/v1/query", params={"query": asked})
        result = answer.json()["data"]["result"]
        expected = sum(len(self.stage.config["targets"].get(system, ())) for system in SYSTEMS)
        return expected == 0 or (bool(result) and int(result[0]["value"][1]) == expected)

    async def _look_for_ever(self) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                self._note(await self._alerts())
                await self._note_silences()
            await asyncio.sleep(_EVERY)

    async def _alerts(self) -> list[dict[str, Any]]:
        return list((await self._get(f"{self.stage.url('prometheus')}/api/v1/alerts"))["data"]["alerts"])

    async def _get(self, url: str, timeout: float = 10.0) -> Any:
        answer = await self.stage.http.get(url, timeout=timeout)
        answer.raise_for_status()
        return answer.json()

    def _note(self, alerts: Iterable[dict[str, Any]]) -> None:
        now = time.time()
        firing = {
            _identity(one["labels"]): one
            for one in alerts
            if one["state"] == "firing" and one["labels"]["alertname"] not in _ALWAYS
        }
        for episode in self.firing():
            if firing.pop(_identity(episode.labels), None) is None:
                episode.ended = now
        for alert in firing.values():
            self.episodes.append(Episode(alert["labels"], alert["annotations"].get("summary", ""), now))

    async def _note_silences(self) -> None:
        for alert in await self.held("alertmanager"):
            if alert["status"]["silencedBy"]:
                for episode in self.firing():
                    if episode.labels.items() <= alert["labels"].items():
                        episode.silenced = True


def _identity(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
