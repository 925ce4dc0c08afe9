"""Recorded answers of Open WebUI: making a recording from a real server, and serving one to a collector."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.client.http import decode, raise_for_status
from exporter.collectors.base import Answer, Http
from exporter.collectors.openwebui import OpenWebUICollector
from exporter.errors import CollectError
from provisioning.config.targets import OpenWebUITarget

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "openwebui"
NOW = 1_795_400_000.0
HTML = Answer(200, "text/html", b"<!doctype html><title>Open WebUI</title>")


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, "application/json", jsonlib.dumps(body).encode())


class FakeHttp:
    """Serves a mapping of path to answer or error; a path it does not have is Open WebUI's web page."""

    def __init__(self, answers: Mapping[str, Answer | CollectError]) -> None:
        self.answers = dict(answers)
        self.calls: list[tuple[str, bool]] = []
        self.timeouts: dict[str, float | None] = {}

    async def ask(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Answer:
        assert method == "GET"
        assert json is None
        self.calls.append((path, key))
        self.timeouts[path] = timeout
        found = self.answers.get(path, HTML)
        if isinstance(found, CollectError):
            raise found
        return found

    async def json(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Any:
        found = await self.ask(path, method=method, json=json, key=key, timeout=timeout)
        if found.status != 200:
            raise_for_status(found.status, f"openwebui.test{path}")
        return await decode(found, f"openwebui.test{path}")

    def paths(self, *, key: bool) -> list[str]:
        return [path for path, with_key in self.calls if with_key is key]

    # What collectors take their connections from.
    def http(self, target: object, base_url: str | None = None) -> Http:
        return self

    def rpc(self, target: object) -> Any:
        raise AssertionError("Open WebUI has no RPC")


class Recorder:
    """Passes calls on to a real server and keeps the answers."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.answers: dict[str, Answer] = {}

    async def ask(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Answer:
        found = self.answers[path] = await self._http.ask(path, method=method, json=json, key=key, timeout=timeout)
        return found

    async def json(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Any:
        found = await self.ask(path, method=method, json=json, key=key, timeout=timeout)
        if found.status != 200:
            raise_for_status(found.status, path)
        return await decode(found, path)

    def http(self, target: object, base_url: str | None = None) -> Http:
        return self

    def rpc(self, target: object) -> Any:
        raise AssertionError("Open WebUI has no RPC")

    def save(self, version: str, replace: Mapping[str, str], now: float) -> None:
        """Write the recording, with addresses of that run replaced by lasting ones."""
        calls: dict[str, Any] = {}
        for path, found in sorted(self.answers.items()):
            text = found.body.decode()
            for old, new in replace.items():
                text = text.replace(old, new)
            body = jsonlib.loads(text) if "json" in found.content_type else text
            calls[path] = {"status": found.status, "content_type": found.content_type, "body": body}
        folder = FIXTURES / version
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"recorded_at": int(now), "answers": calls}
        (folder / "answers.json").write_text(jsonlib.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def recording(version: str) -> tuple[FakeHttp, float]:
    """A recorded server, and when it was recorded."""
    whole = jsonlib.loads((FIXTURES / version / "answers.json").read_text())
    answers: dict[str, Answer | CollectError] = {}
    for path, found in whole["answers"].items():
        body = found["body"]
        raw = jsonlib.dumps(body) if "json" in found["content_type"] else body
        answers[path] = Answer(found["status"], found["content_type"], raw.encode())
    return FakeHttp(answers), float(whole["recorded_at"])


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def collector(
    http: FakeHttp | Recorder, *, key: bool = True, now: float = NOW, monotonic: Time | None = None, **more: Any
) -> OpenWebUICollector:
    """A collector that talks to `http`; whether a key is configured is all that matters of it here."""
    file = Path("unused-key-file") if key else None
    target = OpenWebUITarget(name="chat", url="http://openwebui.test:3000", api_key_file=file, **more)
    return OpenWebUICollector(target, http, lambda: now, monotonic or Time())
