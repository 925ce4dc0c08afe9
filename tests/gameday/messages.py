"""Who was told what and when: the ledger, and the ends of the line that fill it."""

from __future__ import annotations

import email
import email.policy
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http import HTTPStatus
from typing import Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.gameday.serving import Server

# Of a mail's subject, of an SMS, and of a mail that the bridge sends in place of an SMS.
_RESOLVED = re.compile(r"\[?RESOLVED|\[no SMS[^\]]*\] RESOLVED")
_IN_MAIL = re.compile(r"^alertname: (\w+)$", re.MULTILINE)
_IN_SMS = re.compile(r"^([A-Z]\w+): ")
_WHEN = re.compile(r"^(?:Since|From) .*$", re.MULTILINE)
_ACKNOWLEDGE = "Ack"
IN_PLACE = "[no SMS"  # how the subject of a mail begins that the bridge sends in place of an SMS
Channel = Literal["mail", "sms", "heartbeat"]


@dataclass(frozen=True, slots=True)
class Part:
    """What a message says of one alert."""

    alert: str
    """Its name; empty where the message has no such parts."""
    text: str

    @property
    def when(self) -> str:
        """Since when it has been so, or from when to when it was; empty where it does not say."""
        found = _WHEN.search(self.text)
        return found[0] if found else ""


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
        return bool(_RESOLVED.match(self.subject or self.text))

    @property
    def whole(self) -> str:
        return f"{self.subject}\n{self.text}"

    @property
    def news(self) -> list[Part]:
        """What it tells: all that is over when it says that, else what fires, without what it adds has ended there."""
        if self.channel == "sms" or self.subject.startswith(IN_PLACE):
            found = [Part(match[1], line) for line in self.text.splitlines() if (match := _IN_SMS.match(line))]
            parts = [one for one in found if one.alert != _ACKNOWLEDGE]
        else:
            blocks = [block for block in self.text.split("\n\n") if self.resolved or not block.startswith("RESOLVED ")]
            parts = [Part(match[1], block) for block in blocks if (match := _IN_MAIL.search(block))]
        return parts or [Part("", self.whole)]


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
        """In place of "250 OK" to a sender, such as "451 try later"."""
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

    # Alertmanager before 0.28 does not read the answer to the mail itself, so it is refused at its first line.
    async def handle_MAIL(  # noqa: N802 -- aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answer is not None:
            self.refused += 1
            return self.answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        parsed = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default)
        body = parsed.get_body(("plain", "html"))
        text = str(body.get_content()).replace("\r\n", "\n") if body is not None else ""
        for to in envelope.rcpt_tos:
            self._ledger.add(Message("mail", to, str(parsed["Subject"]), text))
        return "250 OK"


class Heartbeats:
    """The outside service that the Watchdog speaks to: it only remembers when."""

    def __init__(self, ledger: Ledger) -> None:
        self.status = HTTPStatus.OK
        self._ledger = ledger
        self._server = Server(self._beat)
        self.url = f"http://127.0.0.1:{self._server.server_port}/beat"
        self.start, self.stop = self._server.start, self._server.stop

    def _beat(self, _path: str) -> tuple[int, bytes, str]:
        if self.status == HTTPStatus.OK:
            self._ledger.add(Message("heartbeat", "heartbeat", "", ""))
        return self.status, b"", "text/plain"
