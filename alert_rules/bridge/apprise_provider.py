"""Any provider that the apprise library knows. https://appriseit.com.

apprise says whether a message went out and nothing else: what failed may have been taken, and there is no list to ask.
A failure is therefore never tried again; the person gets a mail.
"""

from __future__ import annotations

import logging
from types import ModuleType
from urllib.parse import quote

from alert_rules.bridge.provider import Handed, LookError, NotTaken, Taken, Unknown
from provisioning.config.notifications import Apprise

_MOST_BYTES = 64 * 1024


class MissingAppriseError(Exception):
    """The library is not installed; `str()` says how to get it."""


class AppriseProvider:
    """The providers whose URLs a file lists, one a line; `{to}` stands for the number."""

    reports = False

    def __init__(self, account: Apprise) -> None:
        """Raises MissingAppriseError."""
        self._apprise = _library()
        self._file = account.urls_file

    async def send(self, to: str, body: str, id: str) -> Handed:
        """See Provider."""
        try:
            urls = self._urls(to)
        except (OSError, UnicodeDecodeError) as error:
            return NotTaken(
                "secret", f"cannot read {self._file}: {getattr(error, 'strerror', None) or 'it is not text'}"
            )
        sender = self._apprise.Apprise()
        if not urls or not all(sender.add(url) for url in urls):
            return NotTaken("secret", f"{self._file} holds no URL that apprise understands, or one that it does not")
        if await sender.async_notify(body=body, body_format="text"):
            return Taken(f"apprise-{id}")
        return Unknown("refused", "apprise could not hand it over, and does not say how far it came")

    async def find(self, _to: str, _body: str, _since: float, /) -> list[str]:
        """See Provider."""
        raise LookError("providers behind apprise cannot be asked what they took")

    async def delivery(self, _sid: str, /) -> tuple[str, str]:
        """See Provider."""
        raise LookError("providers behind apprise cannot be asked what became of a message")

    async def close(self) -> None:
        """See Provider: nothing is kept open."""

    def _urls(self, to: str) -> list[str]:
        with self._file.open(encoding="utf-8") as file:
            lines = [line.strip() for line in file.read(_MOST_BYTES).splitlines()]
        return [line.replace("{to}", quote(to, safe="")) for line in lines if line and not line.startswith("#")]


def _library() -> ModuleType:
    try:
        import apprise  # noqa: PLC0415 -- an extra; it takes a second to import
    except ImportError:
        raise MissingAppriseError(
            "notifications.sms.apprise needs the apprise library; install cluster-ai-dashboard[apprise]"
        ) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it may log addresses with their secrets
    apprise.Apprise().add("json://localhost")  # its plugins load now, not while somebody waits
    module: ModuleType = apprise
    return module
