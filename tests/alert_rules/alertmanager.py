"""A real Alertmanager with a rendered configuration, a mail server that keeps what comes, and a bridge's stand-in."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from provisioning.config.model import Config
from provisioning.render import Places, render
from tests.ports import free_port
from tests.tools import tool

PATIENCE = 40.0
Labels = dict[str, str]


@dataclass
class Mail:
    """One message as it came."""

    to: list[str]
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    def body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content())


class MailServer:
    """SMTP on loopback; keeps each message, or refuses each recipient with `refused`. Asks for `password` if any."""

    def __init__(self, refused: str = "", password: str = "") -> None:
        self.port = free_port()
        self.mails: list[Mail] = []
        self._refused = refused
        self._password = password
        # Without LOGIN, in which aiosmtpd asks with words that Alertmanager does not know.
        login = {"authenticator": self._login, "auth_require_tls": False, "auth_exclude_mechanism": ["LOGIN"]}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **(login if password else {}))

    def _login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and given.password == self._password.encode()
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        """The names are aiosmtpd's."""
        envelope.rcpt_tos.append(address)
        return self._refused or "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self._password and not session.authenticated:
            return "530 log in first"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(Mail(list(envelope.rcpt_tos), message))
        return "250 OK"

    def about(self, target: str) -> list[Mail]:
        """The mails about one target."""
        return [mail for mail in self.mails if f"target: {target}\n" in mail.body("plain").replace("\r", "")]

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class Bridge:
    """Answers 200 to whatever is posted, and keeps it."""

    def __init__(self) -> None:
        posts: list[tuple[str, str, dict[str, Any]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((self.path, self.headers["Authorization"] or "", json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.posts = posts
        self.port = free_port()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Alertmanager:
    """The program, its API, and how to start it again."""

    folder: Path
    config: Config
    bridge: int = 9
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Renders, starts, and waits until it answers."""
        addresses = {"alertmanager": f"127.0.0.1:{self.port}", "sms_bridge": f"127.0.0.1:{self.bridge}"}
        services = self.config.services.model_copy(update=addresses)
        secrets = self.folder / "secrets"
        secrets.mkdir(exist_ok=True)
        (secrets / "sms-bridge-token").write_text("the-token")
        places = Places(data=self.folder / "data", secrets=secrets)
        render(self.config.model_copy(update={"services": services}), self.folder / "out", places=places)
        command = [
            tool("alertmanager"),
            f"--config.file={self.folder}/out/alertmanager.yml",
            f"--storage.path={self.folder}/alertmanager",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
            "--data.maintenance-interval=1s",
        ]
        with (self.folder / "alertmanager.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._ready, self.log)

    def _ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        return False

    def log(self) -> str:
        return (self.folder / "alertmanager.log").read_text()

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def kill(self) -> None:
        """Ends it as a crash would."""
        assert self._process
        self._process.kill()
        self._process.wait(PATIENCE)

    def fire(self, *alerts: Labels, annotations: Labels | None = None, ends: timedelta = timedelta(hours=1)) -> None:
        """Posts alerts that fire, or with `ends` in the past are mended."""
        now = datetime.now(UTC)
        sent = [
            {
                "labels": labels,
                "annotations": annotations or {"summary": f"{labels['alertname']} is the matter"},
                # Alertmanager's group_wait counts from here, so that its own restart wakes nobody later.
                "startsAt": min(now, now + ends - timedelta(seconds=1)).isoformat(),
                "endsAt": (now + ends).isoformat(),
            }
            for labels in alerts
        ]
        httpx.post(f"{self.url}/api/v2/alerts", json=sent).raise_for_status()

    def mend(self, *alerts: Labels) -> None:
        self.fire(*alerts, ends=timedelta(seconds=-1))

    def silence(self, labels: Labels, seconds: float = 3600) -> str:
        """Acknowledges whatever has these labels."""
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": name, "value": value, "isRegex": False} for name, value in labels.items()],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=seconds)).isoformat(),
            "createdBy": "ana",
            "comment": "ACK",
        }
        answer = httpx.post(f"{self.url}/api/v2/silences", json=silence).raise_for_status()
        return str(answer.json()["silenceID"])

    def silences(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/silences").raise_for_status().json()
        return [silence for silence in found if silence["status"]["state"] == "active"]

    def silenced(self) -> set[str]:
        """Targets of the alerts that somebody acknowledged."""
        found = httpx.get(f"{self.url}/api/v2/alerts").raise_for_status().json()
        return {alert["labels"]["target"] for alert in found if alert["status"]["silencedBy"]}

    def inhibited(self) -> set[str]:
        """Names of the alerts that another one hides."""
        found = httpx.get(f"{self.url}/api/v2/alerts").raise_for_status().json()
        return {alert["labels"]["alertname"] for alert in found if alert["status"]["inhibitedBy"]}


@contextlib.contextmanager
def running(folder: Path, config: Config, *, bridge: int = 9, port: int = 0) -> Iterator[Alertmanager]:
    found = Alertmanager(folder, config, bridge, port or free_port())
    try:
        found.start()
        yield found
    finally:
        found.stop()


def wait_for(condition: Any, why: Any = lambda: "") -> None:
    """Waits until the condition holds; fails with what `why` gives."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, why()
        time.sleep(0.05)


def subjects(mails: Sequence[Mail]) -> list[str]:
    return [mail.subject for mail in mails]
