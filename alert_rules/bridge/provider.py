"""What came of handing an SMS to a provider, in the only terms that matter: may it be handed over again?"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """The provider has it; `sid` is its name there."""

    sid: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The provider never took it, for certain: it may be handed over again."""

    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider will not take it, however often it is asked."""

    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider may have it; handing it over again could tell the person twice."""

    reason: str
    why: str


Handed = Taken | NotTaken | Refused | Unknown

REASONS = (
    "unreachable",
    "rate_limited",
    "secret",
    "account",
    "number",
    "refused",
    "server_error",
    "timeout",
    "broken_answer",
)
"""Why handing over fails; the metrics have each at 0 from the start."""


class LookError(Exception):
    """The provider cannot say what it was handed."""


class Provider(Protocol):
    """Sends SMS."""

    @property
    def reports(self) -> bool:
        """Whether `delivery` can be asked."""

    async def send(self, to: str, body: str, id: str, /) -> Handed:
        """Hands one SMS over, once. `id` is our name of it."""

    async def find(self, to: str, body: str, since: float, /) -> list[str]:
        """The provider's names of the messages with this text that it took since. Raises LookError."""

    async def delivery(self, sid: str, /) -> tuple[str, str]:
        """What became of a message on its way to the phone, and the error that kept it. Raises LookError."""

    async def close(self) -> None:
        """Let go of connections."""


class DryRun:
    """Writes what would be sent to the log."""

    reports = False

    async def send(self, to: str, body: str, id: str) -> Handed:
        """See Provider."""
        log.info("dry run, this would go to %s:\n%s", masked(to), body)
        return Taken(f"dry-run-{id}")

    async def find(self, _to: str, _body: str, _since: float, /) -> list[str]:
        """See Provider: nothing was ever sent."""
        return []

    async def delivery(self, _sid: str, /) -> tuple[str, str]:
        """See Provider."""
        raise LookError("a dry run delivers nothing")

    async def close(self) -> None:
        """See Provider."""


def masked(number: str) -> str:
    """A phone number as it may stand in a log: `+55...00`."""
    return f"{number[:3]}...{number[-2:]}"
