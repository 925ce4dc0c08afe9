"""A real Grafana with the settings of production, on a real PostgreSQL and Redis."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx

from compose.native.grafana import Grafana
from provisioning.grafana.api import Api
from provisioning.render import render
from provisioning.secrets.installation import Installation
from tests.compose.running import until
from tests.ports import free_port
from tests.provisioning.secrets.installed import secret, write
from tests.real.grafana_server import home
from tests.standins import postgres_server, redis_server

HOST = {"Host": "monitoring.example.org"}


class Stack:
    """PostgreSQL, Redis and one Grafana."""

    def __init__(self, there: Installation, postgres: postgres_server.Postgres, redis: redis_server.Rendered) -> None:
        self.postgres = postgres
        self.redis = redis
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        services = there.config.services.model_copy(update={"grafana": f"127.0.0.1:{port}"})
        config = there.config.model_copy(update={"services": services})
        places = replace(there.places, data=there.folder / "data")
        self.there = replace(there, config=config, places=places)
        self.log = there.folder / "grafana.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        out = self.there.folder / "rendered"
        render(self.there.config, out, places=self.there.places)
        self.there.places.plugins.mkdir(parents=True, exist_ok=True)
        command = Grafana(home(), home() / "bin/grafana").command(out / "grafana/grafana.ini")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd="/")
        until(self.answers, "Grafana to answer", seconds=90)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/api/health").status_code == 200
        return False

    def client(self) -> httpx.Client:
        """Asks as a browser behind nginx does."""
        return httpx.Client(base_url=self.url, headers=HOST, timeout=30)

    @contextmanager
    def sign_in(self) -> Iterator[httpx.Client]:
        with self.client() as browser:
            login = {"user": "admin", "password": secret(self.there, "grafana-admin-password")}
            assert browser.post("/login", json=login).status_code == 200
            # The cookie is for https alone; here it goes without.
            browser.headers["Cookie"] = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
            yield browser

    def api(self) -> Api:
        return Api(self.url, "admin", secret(self.there, "grafana-admin-password"), host=HOST["Host"])


@contextmanager
def stack(*lines: str) -> Iterator[Stack]:
    """A new installation, whose file has `lines` under `production`; Grafana is not started yet."""
    with postgres_server.folder() as folder:
        write(folder, *lines)
        with of(folder) as started:
            yield started


@contextmanager
def of(folder: Path) -> Iterator[Stack]:
    """The installation in that folder, with a new PostgreSQL and Redis."""
    with postgres_server.of(folder, f"127.0.0.1:{free_port()}") as postgres:
        (folder / "redis").mkdir()
        with redis_server.rendered(postgres.there, folder / "redis") as redis:
            started = Stack(postgres.there, postgres, redis)
            try:
                yield started
            finally:
                started.stop()
