"""An Ollama with a GPU, which cannot be had everywhere: answers recorded of 0.17.4, with numbers that may change."""

from __future__ import annotations

import datetime as dt
import json
import ssl
from pathlib import Path
from typing import Any

from tests.certificates import DAY, Authority
from tests.exporter.ollama.fakes import fixture
from tests.gameday.serving import Server

VERSION = "0.17.4"
LASTS = 90 * DAY
"""How long a certificate is good for that nobody has to renew yet."""
_KEPT = dt.timedelta(minutes=5)
_GENERATED = {"response": "a", "done": True, "eval_count": 1}


class GpuOllama:
    """One model, on the GPU and in use, behind TLS."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._authority = folder, Authority("game day")
        self.ca_file = self._authority.write_ca(folder)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certify(LASTS)
        self.version = VERSION
        self.on_gpu = 1.0
        """Share of the model that is in the GPU's memory."""
        self.failing: frozenset[str] = frozenset()
        """Paths that answer 500."""
        self._ended = dt.datetime.now(dt.UTC)
        self._server = Server(self._respond)
        # The handshake is made by the thread that serves the connection, so that nobody waits for a slow one.
        listening = self._server.socket
        self._server.socket = self._tls.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        self.start, self.stop = self._server.start, self._server.stop

    def certify(self, lasts: dt.timedelta) -> None:
        """From the next connection on it shows a certificate that ends so long from now."""
        self._tls.load_cert_chain(*self._authority.write_pair(self._folder, lasts=lasts))

    def _respond(self, path: str) -> tuple[int, bytes, str]:
        status, content = self._answer(path)
        return status, json.dumps(content).encode(), "application/json"

    def _answer(self, path: str) -> tuple[int, Any]:
        if path in self.failing:
            return 500, {"error": "out of order"}
        if path == "/api/generate":
            self._ended = dt.datetime.now(dt.UTC)
            return 200, _GENERATED
        if path == "/api/version":
            return 200, {"version": self.version}
        name = path.removeprefix("/api/")
        if name == "ps":
            return 200, {"models": [self._placed(model) for model in fixture(VERSION, "ps")["models"]]}
        if name in ("tags", "show"):
            return 200, fixture(VERSION, name)
        return 404, {"error": "not found"}

    def _placed(self, model: dict[str, Any]) -> dict[str, Any]:
        expires = self._ended + _KEPT  # a request that ends sets it anew
        return model | {"expires_at": expires.isoformat(), "size_vram": int(model["size"] * self.on_gpu)}
