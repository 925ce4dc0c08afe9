"""Who was told what and when: the ledger, and the ends of the line that fill it."""

from __future__ import annotations

import email
import email.policy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

Channel = Literal["mail", "sms", "heartbeat"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message that a provider took."""

    channel: Channel
    to: str
    """An address or a number."""
    subject: str
    text: str
    at: float = field(default_factory=time.time)

    @property
    def resolved(self) -> bool:
        """Whether it says that all is mended."""
        return (self.subject or self.text).lstrip("[").startswith("RESOLVED")

    @property
    def whole(self) -> str:
        return f"{self.subject}\n{self.text}"


class Ledger:
    """Every message so far; may be added to from any thread."""

    def __init__(self) -> None:
        self.sources: list[Callable[[], list[Message]]] = []
        """Those who keep their messages themselves."""
        self._messages: list[Message] = []
        self._lock = threading.Lock()

    def add(self, message: Message) -> None:
        with self._lock:
            self._messages.append(message)

    def since(self, begun: float, until: float = float("inf")) -> list[Message]:
        with self._lock:
            found = [*self._messages, *(one for source in self.sources for one in source())]
        return sorted((one for one in found if begun <= one.at < until), key=lambda one: one.at)


class MailServer:
    """An SMTP server on loopback that can be told to fail."""

    def __init__(self, ledger: Ledger, port: int) -> None:
        self.port = port
        self.refused = 0
        self.answer: str | None = None
        """In place of "250 OK", such as "451 try later"."""
        self._ledger = ledger
        self._controller: Controller | None = None

    def start(self) -> None:
        # Without a limit of its own: a mail is never too large here.
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, decode_data=False)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 -- aiosmtpd's
        if self.answer is not None:
            self.refused += 1
            return self.answer
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        parsed = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default)
        body = parsed.get_body(("plain", "html"))
        text = str(body.get_content()) if body is not None else ""
        for to in envelope.rcpt_tos:
            self._ledger.add(Message("mail", to, str(parsed["Subject"]), text))
        return "250 OK"


class Heartbeats:
    """The outside service that the Watchdog speaks to: it only remembers when."""

    def __init__(self, ledger: Ledger) -> None:
        self.status = 200

        def beat() -> int:
            if self.status == HTTPStatus.OK:
                ledger.add(Message("heartbeat", "heartbeat", "", ""))
            return self.status

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(beat))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/beat"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _answering(seen: Callable[[], int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(seen())
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 -- BaseHTTPRequestHandler's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
