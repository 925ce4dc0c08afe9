"""An installation on a real engine, as its owner and the engine see it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.standins import container_images
from tests.standins.docker_engine import Engine

OWNER = (1234, 1235)
DOMAIN = "monitoring.example.org"
FILE = f"""\
name: lab
targets:
  ollama:
    - {{name: gpu-1, url: "http://192.0.2.7:11434"}}
notifications:
  heartbeat: {{url_file: heartbeat-url}}
production:
  domain: {DOMAIN}
  http: 127.0.0.1:20080
  https: 127.0.0.1:20443
  grafanas: 2
  certificate: {{cert_file: cert.pem, key_file: key.pem}}
"""
if container_images.logs_at_hand():
    FILE += "  logs: true\n"
ACME = f"""\
name: lab
targets:
  ollama:
    - {{{{name: gpu-1, url: "http://192.0.2.7:11434"}}}}
production:
  domain: {DOMAIN}
  http: 127.0.0.1:20080
  https: 127.0.0.1:20443
  certificate:
    acme: {{{{email: ops@example.org, directory: "{{directory}}", ca_file: authority.pem}}}}
"""
# PostgreSQL and Redis of the stand-ins are Debian 13's, and Grafana answers for its health alone.
SERVICES = {
    "alertmanager",
    "backup",
    "blackbox",
    "exporter",
    "grafana-1",
    "grafana-2",
    "nginx",
    "nginx-exporter",
    "nginx-log-exporter",
    "node-exporter",
    "postgres",
    "postgres-exporter",
    "prometheus",
    "redis",
    "redis-exporter",
    "sms-bridge",
}
if container_images.logs_at_hand():
    SERVICES |= set(container_images.LOG_STORE)


class Host:
    """An installation of a user who is not root, on an engine of its own."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        source: Path = container_images.ROOT,
        kind: str = "prod",
        hosts: Path | None = None,
    ) -> None:
        """`source` is the checkout whose code and compose files are used; `hosts` what /etc/hosts says to commands."""
        self.engine = engine
        self.folder = folder
        self._source = source
        self._kind = kind
        self._hosts = hosts

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of ours, as the owner."""
        done = as_owner(
            self.engine, self.folder, "-m", "provisioning.cli", *arguments, source=self._source, hosts=self._hosts
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def compose(self, *arguments: str, check: bool = True) -> str:
        files = (self._source / "compose/docker-compose.yml", self._source / f"compose/docker-compose.{self._kind}.yml")
        rendered = self.folder / "rendered"
        start = [part for file in (*files, rendered / "compose.yml") for part in ("--file", str(file))]
        start += ["--env-file", str(rendered / "compose.env")]
        return self.engine.docker("compose", *start, *arguments, check=check).stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each service."""
        found = self.compose("ps", "--all", "--quiet").split()
        rows = json.loads(self.engine.docker("inspect", *found).stdout) if found else []
        return {row["Config"]["Labels"]["com.docker.compose.service"]: row for row in rows}

    def healthy(self) -> set[str]:
        states = {name: row["State"].get("Health", {}) for name, row in self.containers().items()}
        return {name for name, health in states.items() if health.get("Status") == "healthy"}

    def get(self, path: str) -> bytes:
        """A page by the door, checked like a browser does."""

        def ask() -> bytes:
            context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
            with (
                socket.create_connection(("127.0.0.1", 20443), 5) as plain,
                context.wrap_socket(plain, server_hostname=DOMAIN) as connection,
            ):
                head = f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}:20443\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode())
                return b"".join(iter(lambda: connection.recv(65536), b""))

        return self.engine.inside(ask)

    def issuer(self) -> str:
        """Who has signed the certificate that the door shows."""

        def ask() -> bytes:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with (
                socket.create_connection(("127.0.0.1", 20443), 5) as plain,
                context.wrap_socket(plain, server_hostname=DOMAIN) as connection,
            ):
                return connection.getpeercert(binary_form=True) or b""

        return x509.load_der_x509_certificate(self.engine.inside(ask)).issuer.rfc4514_string()

    def query(self, question: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:9090/api/v1/query?query={question}"
        done = self.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", url)
        found: list[dict[str, Any]] = json.loads(done)["data"]["result"]
        return found

    def log_services(self) -> set[str]:
        """The services whose lines Loki has."""
        url = "http://loki:3100/loki/api/v1/label/service/values"
        done = self.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", url)
        return set(json.loads(done).get("data", ()))

    def sql(self, text: str) -> str:
        password = f"PGPASSWORD=$(cat {self.folder}/secrets/postgres-password)"
        script = f'{password} psql -h 127.0.0.1 -U postgres -At -c "{text}" grafana'
        return self.compose("exec", "-T", "postgres", "sh", "-c", script).strip()


def as_owner(
    engine: Engine, folder: Path, *arguments: str, source: Path = container_images.ROOT, hosts: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Python as another user, who may look neither into root's home nor at its Python there."""
    paths = [str(source), *(path for path in sys.path if path.endswith("site-packages"))]
    user = ["setpriv", f"--reuid={OWNER[0]}", f"--regid={OWNER[1]}", "--clear-groups"]
    known = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    return subprocess.run(
        [*(known if hosts else []), *user, "/usr/bin/python3", "-P", *arguments],
        cwd=folder,
        env=engine.environment | {"HOME": str(folder), "PYTHONPATH": ":".join(paths), "PATH": engine.client},
        capture_output=True,
        text=True,
        check=False,
    )


def pid(row: dict[str, Any]) -> int:
    """The first process of a container, as this system counts."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            # Its number here, in the engine's namespace, and in the container's own.
            found = re.search(rf"^NSpid:\t(\d+)\t{row['State']['Pid']}\t1$", status.read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    raise AssertionError(f"{row['Name']} has no process")
