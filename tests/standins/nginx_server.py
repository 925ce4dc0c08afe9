"""A real nginx as the door of our render: $NGINX_SERVER, on PATH, or Debian's packages unpacked as `make tools` does.

`python -m tests.standins.nginx_server` unpacks it with its brotli modules; nothing is installed or started.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package
from provisioning.config.model import Config
from provisioning.config.production import Production
from provisioning.config.targets import Targets
from provisioning.render import nginx
from provisioning.render.places import Places
from provisioning.render.production_places import ProductionPlaces
from tests.certificates import Authority
from tests.compose.running import until
from tests.ports import free_port

DOMAIN = "monitoring.example.org"
ENTRYPOINT = Path(__file__).parents[2] / "compose/nginx/entrypoint.sh"
PACKAGES = (
    Package("nginx", {}),
    Package("libnginx-mod-http-brotli-filter", {}, needs=("libbrotli",)),
)
POLL = "0.3"
NOBODY = 65534


class Door:
    """nginx as its image runs it, by the same script, before stand-ins or a real Grafana."""

    def __init__(self, folder: Path, grafanas: tuple[str, ...], says: dict[str, Any], faro: str) -> None:
        self.folder = folder
        self.port, self.http, self.status = free_port(), free_port(), free_port()
        production = Production(domain=DOMAIN, https=f"127.0.0.1:{self.port}", http=f"127.0.0.1:{self.http}", **says)
        self.config = Config(targets=Targets(), production=production)
        self.url = f"https://{nginx.public_address(self.config)}"
        self.access_log, self.audit_log = folder / "access.json", folder / "audit.json"
        self.attempts_log = folder / "attempts.json"
        self.said = folder / "said"
        self.certificates = folder / "certificates"
        self.certificates.mkdir()
        (folder / "webroot").mkdir()
        self.programs = Programs(folder)
        self.places = ProductionPlaces(
            nginx_http=f"127.0.0.1:{self.http}",
            nginx_https=f"127.0.0.1:{self.port}",
            nginx_status=f"127.0.0.1:{self.status}",
            grafanas=grafanas,
            faro=faro,
            certificates=self.certificates,
            webroot=folder / "webroot",
            nginx_modules=self.programs.modules,
            nginx_run=folder / "run",
            nginx_logs=folder,
            nginx_access_log=self.access_log,
        )
        self.authority = Authority("the authority of a test")
        self.ca = self.authority.write_ca(folder)
        self.new_certificate()
        self.process: subprocess.Popen[bytes] | None = None

    def new_certificate(self, **how: Any) -> None:
        """Another one, put in place of what is there at once."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        chain, key = self.authority.write_pair(made, name=DOMAIN, **how)
        self.programs.give(made)
        key.rename(self.certificates / "privkey.pem")
        chain.rename(self.certificates / "fullchain.pem")

    def render(self, **other: Any) -> Path:
        """Writes what nginx reads; `other` replaces places."""
        places = Places(data=self.folder, secrets=self.folder, production=replace(self.places, **other))
        made = nginx.files(self.config, places, self.folder, "cluster-ai.yml")
        for name, text in made.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        return self.folder / nginx.MAIN

    def start(self) -> None:
        conf = self.render()
        script = shutil.copy(ENTRYPOINT, self.folder)  # whoever nginx runs as may not look into this checkout
        self.programs.give(self.folder)
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                ["/bin/sh", script, str(conf)],
                stdout=said,
                stderr=said,
                env={**os.environ, **self.programs.environment, "POLL": POLL},
                **self.programs.owner,
            )
        until(self._answers, "nginx to answer")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.said.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.status}/stub_status").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def kept(self) -> list[dict[str, Any]]:
        """What is kept of who did and tried what."""
        logs = (self.attempts_log, self.audit_log)
        return [json.loads(line) for log in logs for line in log.read_text().splitlines()]

    def serial(self) -> str:
        """Which certificate it shows."""
        with connect(self) as connection:
            return str((connection.getpeercert() or {})["serialNumber"])

    def client(self, **how: Any) -> Client:
        """Asks as a browser of somebody who knows the name."""
        return Client(self, **how)


class Client(httpx.Client):
    """httpx to 127.0.0.1 under the door's name; redirects are seen, not followed."""

    def __init__(self, door: Door, **how: Any) -> None:
        self._door = door
        super().__init__(base_url=door.url, verify=door.trust, timeout=20, **how)

    def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        request.extensions["sni_hostname"] = DOMAIN
        request.url = request.url.copy_with(host="127.0.0.1", port=self._door.port)
        return super().send(request, **how)


def connect(door: Door) -> ssl.SSLSocket:
    """A connection of HTTP/1.1, for what no client would send."""
    plain = socket.create_connection(("127.0.0.1", door.port), 20)
    return door.trust.wrap_socket(plain, server_hostname=DOMAIN)


def raw(door: Door, text: bytes, *, encrypted: bool = True, port: int | None = None, rest: float = 2) -> bytes:
    """Everything that comes back for these bytes until the connection ends or rests for so many seconds."""
    plain = socket.create_connection(("127.0.0.1", port or door.http), 20)
    with connect(door) if encrypted else plain as connection:
        connection.settimeout(rest)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
            connection.sendall(text)
            while piece := connection.recv(65536):
                found += piece
    plain.close()
    return found


@contextmanager
def running(*grafanas: str, faro: str = "127.0.0.1:9", **says: Any) -> Iterator[Door]:
    """A door before these Grafanas with `says` in its configuration, or the test is skipped with the reason."""
    needed()
    with tempfile.TemporaryDirectory(prefix="door-") as folder:  # a socket's path may not be long
        door = Door(Path(folder), grafanas, says, faro)
        try:
            door.start()
            yield door
        finally:
            door.stop()


def needed() -> None:
    """Skips the test with the reason when it is not there."""
    if find() is None:
        pytest.skip("nginx with brotli is not on PATH and not unpacked yet (`make tools` unpacks it)")


def find() -> str | None:
    """The program, None when this machine has none or lacks its brotli module."""
    ours = _unpacked("nginx") / "usr/sbin/nginx"
    named = os.environ.get("NGINX_SERVER") or shutil.which("nginx") or (str(ours) if ours.exists() else None)
    return named if named and (modules() / "ngx_http_brotli_filter_module.so").exists() else None


def modules() -> Path:
    """Where its modules are."""
    ours = _unpacked("libnginx-mod-http-brotli-filter") / "usr/lib/nginx/modules"
    return ours if ours.exists() else Path("/usr/lib/nginx/modules")


class Programs:
    """nginx as somebody without rights may run it, and who that is."""

    def __init__(self, folder: Path) -> None:
        found = find()
        assert found is not None
        libraries = list(_unpacked("libnginx-mod-http-brotli-filter").glob("usr/lib/*-linux-gnu/*.so.1"))
        self.modules = modules()
        self.owner: dict[str, Any] = {}
        if os.geteuid() == 0:  # a test run by root: nobody may not look into root's cache
            self.owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            self.modules = folder / "programs"
            self.modules.mkdir()
            copied = [shutil.copy(path, self.modules) for path in (found, *modules().glob("*.so"), *libraries)]
            found, libraries = copied[0], [Path(path) for path in copied[1:]]
            for path in (folder, self.modules, *map(Path, copied)):
                path.chmod(0o755)
        self.environment = {"NGINX_PROGRAM": found}
        if libraries:
            self.environment["LD_LIBRARY_PATH"] = str(libraries[0].parent)

    def give(self, folder: Path) -> None:
        """Lets who runs nginx read and write there."""
        for path in (folder, *folder.rglob("*")) if self.owner else ():
            os.chown(path, NOBODY, NOBODY)


def _unpacked(package: str) -> Path:
    return default_cache_dir() / "debian" / package


def main() -> None:
    """Unpacks nginx unless there is one; a machine without it skips some tests."""
    if find() is not None or not debian.available():
        return
    try:
        debian.fetch(PACKAGES, default_cache_dir(), print)
    except FetchError as error:
        sys.stdout.write(f"nginx could not be had, its tests are skipped: {error}\n")


if __name__ == "__main__":
    main()
