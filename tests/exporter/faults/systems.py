"""The three systems in good health, answering from what was recorded of real ones; tests change their answers."""

from __future__ import annotations

import json
from typing import Any

from tests.exporter.dask import recorded
from tests.exporter.faults.servers import Reply, http, js, message
from tests.exporter.ollama.fakes import fixture
from tests.exporter.openwebui.recorded import recording

OLLAMA, OPENWEBUI, DASK = "0.17.4", "0.12.4", "2026.8.0"
NATIVE = recorded.NATIVE


class Ollama:
    """Ollama's HTTP API."""

    def __init__(self) -> None:
        self.bodies: dict[str, Any] = {
            "/api/version": fixture(OLLAMA, "version"),
            "/api/tags": fixture(OLLAMA, "tags"),
            "/api/ps": fixture(OLLAMA, "ps"),
            "/api/show": fixture(OLLAMA, "show"),
        }

    def answer(self, path: str) -> Reply:
        body = self.bodies.get(path)
        return http(b"404 page not found", "text/plain", 404) if body is None else js(body)


class OpenWebUI:
    """Open WebUI, as an administrator's key sees it."""

    def __init__(self) -> None:
        answers = recording(OPENWEBUI)[0].answers
        self.bodies: dict[str, Any] = {
            path: json.loads(found.body)
            for path, found in answers.items()
            if not isinstance(found, Exception) and found.status == 200
        }

    def answer(self, path: str) -> Reply:
        body = self.bodies.get(path)
        return http(b"<!doctype html>", "text/html") if body is None else js(body)


class Dask:
    """A scheduler's RPC and its web server's /metrics."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = dict(recorded.FakeScheduler.of(DASK).answers)

    def answer(self, name: str) -> Reply:
        return message(self.replies.get(name, ()))

    def page(self, _path: str) -> Reply:
        return http(NATIVE, "text/plain; version=0.0.4")
