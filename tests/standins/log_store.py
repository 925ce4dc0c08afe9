"""A real Loki with what we render for it: $LOKI, or `loki` on PATH; and a real Alloy before it: $ALLOY, or `alloy`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from provisioning.config.model import Config
from provisioning.config.production import Production
from provisioning.config.targets import Targets
from provisioning.render import logs
from provisioning.render.places import Places
from provisioning.render.production_places import ProductionPlaces
from tests.compose.running import until
from tests.ports import free_port

_COMPOSE = Path(__file__).parents[2] / "compose/docker-compose.prod.yml"


def program(name: str) -> str | None:
    """Where it is; None when this machine has none."""
    return os.environ.get(name.upper()) or shutil.which(name)


def needed(name: str) -> str:
    """Where it is, or the test is skipped with the reason."""
    found = program(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH and ${name.upper()} names none")
    return found


class LogStore:
    """The two of an installation in `folder`, which tells Alloy of browsers only when a public address is known."""

    def __init__(self, folder: Path, **says: Any) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.alloy_address = f"127.0.0.1:{free_port()}"
        self.places = ProductionPlaces(
            certificates=folder / "data/certificates",
            webroot=folder / "data/webroot",
            loki=self.address,
            loki_data=folder / "data/loki",
            faro=f"127.0.0.1:{free_port()}",
        )
        self.socket = self.places.alloy_socket
        self.socket.parent.mkdir(parents=True)
        production = Production(domain="monitoring.example.org", logs=True, **says)
        self.render(Config(targets=Targets(), production=production))

    def render(self, config: Config) -> None:
        """Writes what both read, for `config` in place of the one made here."""
        out = self.folder / "rendered"
        places = Places(data=self.folder, secrets=self.folder, production=self.places)
        for name, text in logs.files(config, places, out, "cluster-ai.yml").items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            # The port for others of Loki's kind is fixed, and another test may run beside this one.
            (out / name).write_text(text.replace("grpc_listen_port: 9095", f"grpc_listen_port: {free_port()}"))

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """Asks Loki, which is ready."""
        command = [needed("loki"), f"-config.file={self.folder}/rendered/{logs.LOKI}"]
        subprocess.run([*command, "-verify-config"], check=True, capture_output=True)
        with self._started("loki", command), httpx.Client(base_url=f"http://{self.address}", timeout=30) as client:
            until(lambda: _answers(client, "/ready"), "Loki to be ready", seconds=60)
            yield client

    @contextmanager
    def collecting(self) -> Iterator[subprocess.Popen[bytes]]:
        """Alloy as the compose file starts it; it takes lines."""
        service = yaml.safe_load(_COMPOSE.read_text())["services"]["alloy"]
        command = [self._here(word) for word in (*service["entrypoint"], *service["command"])]
        with self._started("alloy", command) as process:
            with httpx.Client(base_url=f"http://{self.alloy_address}", timeout=10) as client:
                until(lambda: _answers(client, "/-/ready"), "Alloy to be ready", seconds=60)
            yield process

    @contextmanager
    def _started(self, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _here(self, word: str) -> str:
        """A word of the container's command as it is outside of one."""
        for inside, outside in (
            ("$$", "$"),
            ("${CLUSTER_AI_DIR}", str(self.folder)),
            ("/bin/alloy", needed("alloy")),
            ("/tmp/alloy", f"{self.folder}/alloy"),
            ("0.0.0.0:12345", self.alloy_address),
        ):
            word = word.replace(inside, outside)
        return word


def _answers(client: httpx.Client, path: str) -> bool:
    with suppress(httpx.TransportError):
        return client.get(path).status_code == 200
    return False
