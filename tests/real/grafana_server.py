"""A real Grafana with our rendered settings, alone: no Prometheus behind it."""

from __future__ import annotations

import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from compose.native.grafana import Grafana
from provisioning.config.model import Config
from provisioning.render import Places, make_secrets, render
from tests.compose.running import until


class GrafanaServer:
    """Where it answers and how to get in."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        self.url = f"http://{config.services.grafana}"
        self.places = Places(data=folder / "data", secrets=folder / "secrets")
        self.log = folder / "grafana.log"
        self.asked_outside: list[str] = []
        """First lines of what Grafana asked of the world outside this machine."""

    @property
    def password(self) -> str:
        return self.places.grafana_admin_password.read_text()

    def client(self, login: str = "", password: str = "") -> httpx.Client:
        """Asks as somebody, with the password in each request; as nobody without one."""
        return httpx.Client(base_url=self.url, auth=(login, password) if login else None, timeout=30)

    def status(self, method: str, path: str, login: str = "", password: str = "", json: object = None) -> int:
        with self.client(login, password) as client:
            return client.request(method, path, json=json).status_code


@contextmanager
def world_outside() -> Iterator[tuple[str, list[str]]]:
    """A proxy that answers nothing: its address, and what was asked of it. Go never asks one for loopback."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode(errors="replace").strip())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}", asked
        proxy.shutdown()
        thread.join()


def home() -> Path:
    if "GRAFANA_HOME" not in os.environ:
        pytest.skip("GRAFANA_HOME is not set: there is no Grafana to ask")
    return Path(os.environ["GRAFANA_HOME"])


@contextmanager
def running(folder: Path, config: Config) -> Iterator[GrafanaServer]:
    program = Grafana(home(), home() / "bin/grafana")
    server = GrafanaServer(folder, config)
    make_secrets(server.places)
    render(config, folder / "config", places=server.places)
    server.places.plugins.mkdir(parents=True)
    with world_outside() as (proxy, server.asked_outside):
        command = program.command(folder / "config/grafana/grafana.ini")
        with server.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy},
            )
        yield from serving(server, process)


def serving(server: GrafanaServer, process: subprocess.Popen[bytes]) -> Iterator[GrafanaServer]:
    try:
        until(lambda: answers(server, process), "Grafana to answer", seconds=60)
        with server.client("admin", server.password) as admin:
            page = "/api/dashboards/uid/cluster-ai-dashboard"
            until(lambda: admin.get(page).status_code == 200, "the pages to be read", seconds=30)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def answers(server: GrafanaServer, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, server.log.read_text()[-2000:]
    try:
        return httpx.get(f"{server.url}/api/health").status_code == 200
    except httpx.TransportError:
        return False
