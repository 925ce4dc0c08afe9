"""A scripted Ollama: answers by path, and a generation whose timing a test decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exporter.collectors.base import Answer
from exporter.collectors.ollama import OllamaCollector
from exporter.errors import CollectError, Reason
from provisioning.config.targets import OllamaTarget

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ollama"


def fixture(version: str, name: str) -> Any:
    return json.loads((FIXTURES / version / f"{name}.json").read_text())


class Clock:
    """A clock that only tests move."""

    def __init__(self, now: float = 1_795_400_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeHttp:
    """Answers by path: JSON data, an Answer, an exception to raise, or a function of the request's body."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = {"/api/version": {"version": "0.0.0"}, "/api/tags": {"models": []}, "/api/ps": {"models": []}}
        self.answers |= answers
        self.calls: list[tuple[str, Any]] = []

    async def ask(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Answer:
        self.calls.append((path, json))
        given = self.answers.get(path)
        if callable(given):
            given = given(json)
            if asyncio.iscoroutine(given):
                given = await given
        if isinstance(given, Exception):
            raise given
        if isinstance(given, Answer):
            return given
        if given is None:
            return Answer(404, "text/plain", b"404 page not found")
        return Answer(200, "application/json", _dumps(given))

    async def json(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Any:
        answer = await self.ask(path, method=method, json=json, key=key, timeout=timeout)
        if answer.status != 200:
            raise CollectError(Reason.NOT_FOUND if answer.status == 404 else Reason.SERVER_ERROR, "no")
        return _loads(answer.body)

    def count(self, path: str) -> int:
        return sum(called == path for called, _ in self.calls)


def _dumps(data: Any) -> bytes:
    return json.dumps(data).encode()


def _loads(body: bytes) -> Any:
    return json.loads(body)


def collector(http: FakeHttp, clock: Callable[[], float] | None = None, **settings: Any) -> OllamaCollector:
    target = OllamaTarget(name="gpu-1", url="http://10.0.0.7:11434", **settings)
    return OllamaCollector(target, http, clock or Clock())


def entry(name: str, **fields: Any) -> dict[str, Any]:
    """A model of /api/tags or /api/ps."""
    return {"name": name, "model": name, "digest": f"sha-{name}", "size": 1000, **fields}


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def look(collector: OllamaCollector, *names: str) -> dict[str, dict[str, float]]:
    """One collection of the named parts (all when none is named): metric name to label text to value."""
    parts = collector.parts()
    families = []
    for name in names or parts:
        families += await parts[name].ask()
    seen: dict[str, dict[str, float]] = {}
    for family in [*families, *collector.standing()]:
        samples = seen.setdefault(family.name, {})
        for labels, value in family.samples:
            assert labels.text() not in samples, f"{family.name}{labels.text()} twice"
            samples[labels.text()] = value
    return seen
