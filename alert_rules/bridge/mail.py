"""The mail a person gets in place of an SMS."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from provisioning.config.notifications import Mail
from provisioning.config.secrets import SecretError, SecretFile

_PATIENCE = 15.0  # s
_TLS_AT_ONCE = 465


class MailError(Exception):
    """The mail did not leave; `str()` says why, in a line for people."""


class Mailer:
    """One mail account."""

    def __init__(self, account: Mail) -> None:
        self._account = account
        self._password = SecretFile(account.password_file) if account.password_file else None

    async def send(self, to: str, subject: str, text: str) -> None:
        """One mail. Raises MailError."""
        message = EmailMessage()
        message["From"] = self._account.sender
        message["To"] = to
        message["Subject"] = " ".join(subject.split())
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._account.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            await asyncio.to_thread(self._deliver, message)
        except (OSError, smtplib.SMTPException, SecretError, UnicodeError) as error:
            raise MailError(f"the mail did not leave: {_said(error)}") from None

    def _deliver(self, message: EmailMessage) -> None:
        account = self._account
        host, _, port = account.smarthost.rpartition(":")
        host = host.strip("[]")
        at_once = account.tls and int(port) == _TLS_AT_ONCE
        context = ssl.create_default_context(cafile=account.ca_file)
        connection = (
            smtplib.SMTP_SSL(host, int(port), account.hello, timeout=_PATIENCE, context=context)
            if at_once
            else smtplib.SMTP(host, int(port), account.hello, timeout=_PATIENCE)
        )
        with connection as smtp:
            if account.tls and not at_once:
                smtp.starttls(context=context)
            if account.username is not None and self._password is not None:
                smtp.login(account.username, self._password.read())
            smtp.send_message(message)


def _said(error: Exception) -> str:
    """Without the address, which some of these quote."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the mail server refuses the recipient"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answers {error.smtp_code}"
    return str(error) or type(error).__name__
