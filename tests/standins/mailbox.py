"""A mail server on loopback that keeps what it is given."""

from __future__ import annotations

import email
import email.policy
import ssl
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller

from tests.ports import free_port


class Mailbox:
    """`with Mailbox() as mailbox:` serves at `mailbox.address`; `refuse` is an answer to give in place of taking."""

    def __init__(self, *, starttls: ssl.SSLContext | None = None, logins: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.mails: list[EmailMessage] = []
        self.refuse = ""
        self.logins: list[tuple[str, str]] = []
        self._logins = logins
        options: dict[str, Any] = {"tls_context": starttls, "require_starttls": starttls is not None}
        if logins is not None:
            options |= {"authenticator": self._login, "auth_required": True, "auth_require_tls": starttls is not None}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 -- aiosmtpd's name
        if self.refuse:
            return self.refuse
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 OK"

    def _login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> Any:
        from aiosmtpd.smtp import AuthResult  # noqa: PLC0415 -- it warns of its own deprecations at import

        given = (data.login.decode(), data.password.decode())
        self.logins.append(given)
        return AuthResult(success=self._logins is not None and self._logins.get(given[0]) == given[1], handled=False)
