"""Recorded answers of real schedulers, and a scheduler that gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.collectors.base import Answer
from exporter.collectors.dask import DaskCollector
from exporter.errors import CollectError, Reason
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, HostTarget

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "dask"
VERSIONS = tuple(sorted(path.name for path in FIXTURES.iterdir() if path.is_dir()))
NATIVE = b'# TYPE dask_scheduler_workers gauge\ndask_scheduler_workers{state="idle"} 2.0\n'


def dump(value: Any) -> Any:
    """msgpack's values as JSON; keys that JSON does not know become a list of pairs."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: dump(item) for key, item in value.items()}
        return {"__pairs__": [[dump(key), dump(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    return {"__hex__": value.hex()} if isinstance(value, bytes) else value


def load(value: Any) -> Any:
    """What `dump` was given, with tuples for lists, as the RPC client gives them."""
    if isinstance(value, dict):
        if "__pairs__" in value:
            return {load(key): load(item) for key, item in value["__pairs__"]}
        if "__hex__" in value:
            return bytes.fromhex(value["__hex__"])
        return {key: load(item) for key, item in value.items()}
    return tuple(map(load, value)) if isinstance(value, list) else value


class FakeScheduler:
    """Answers from a dictionary; an answer that is an exception is raised. Is the wires, the RPC and the HTTP."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.native: Answer | CollectError = Answer(200, "text/plain", NATIVE)
        self.native_urls: list[str | None] = []

    @classmethod
    def of(cls, version: str) -> FakeScheduler:
        answers = {path.stem: load(json.loads(path.read_text())) for path in (FIXTURES / version).glob("*.json")}
        (removed,) = (message["worker"] for _, message in answers["events-all"] if message["action"] == "remove-worker")
        answers[f"events-{removed}"] = answers.pop("events-removed")
        return cls(answers)

    def rpc(self, target: object) -> FakeScheduler:
        return self

    def http(self, target: object, base_url: str | None = None) -> FakeScheduler:
        self.native_urls.append(base_url)
        return self

    async def call(self, op: str, **arguments: object) -> Any:
        name = f"events-{arguments['topic']}" if op == "events" else op
        self.asked.append(name)
        answer = self.answers.get(name, ())
        if isinstance(answer, CollectError):
            raise answer
        return answer() if callable(answer) else answer

    async def ask(self, path: str, **options: object) -> Answer:
        assert path == "/metrics"
        if isinstance(self.native, CollectError):
            raise self.native
        return self.native

    def down(self) -> None:
        for name in ("identity", "processing", "versions", *(key for key in self.answers if key.startswith("events"))):
            self.answers[name] = CollectError(Reason.REFUSED, "refuses connections")


class Clock:
    """Time that a test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def collector(
    fake: FakeScheduler, monotonic: Clock | None = None, hosts: tuple[HostTarget, ...] = (), **target: Any
) -> DaskCollector:
    configured = DaskTarget(**{"name": "main", "scheduler": "tcp://10.0.0.5:8786", **target})
    wires: Any = fake
    return DaskCollector(configured, wires, HostNames(hosts, "box"), Clock(1.0), monotonic or Clock(1000.0))
