"""What is written down so that nobody is told twice and nothing is lost, and what every ledger must do with it.

A message is OPEN from before it is sent until its fate is known. Whoever finds one OPEN whose holder is gone must not
send it again before the provider has been asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

KEEP = 7 * 86_400.0
"""Seconds a settled message is remembered: delivery reports come late, and people ask what they were told."""
HOUR = 3_600.0
FINAL = ("delivered", "undelivered", "failed")
"""What a provider says last of a message's delivery."""


class State(StrEnum):
    """What is known of a message."""

    OPEN = "open"
    """It may or may not have been taken by the provider."""
    SENT = "sent"
    MAILED = "mailed"
    """The person was told by mail instead."""
    LOST = "lost"
    """The person has no other way to be told; the metrics say so."""


class LedgerError(Exception):
    """The ledger cannot be read or written; `str()` says why, in a line for people."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to one person. Times are seconds since the epoch."""

    id: str
    person: str
    body: str
    made: float
    owner: str
    """Which bridge has it in hand."""
    until: float
    """When another may take it over."""
    state: State = State.OPEN
    sid: str = ""
    """The provider's name of it."""
    delivery: str = ""
    """What the provider last said of its delivery."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a wish to tell."""

    granted: bool
    """False when all of it is told, or being told."""
    in_hand: Entry | None = None
    """The open message that is telling it."""


class Ledger(Protocol):
    """Every method raises LedgerError."""

    async def claim(self, entry: Entry, keys: Sequence[str], window: float) -> Claim:
        """Writes the message down, durably, if one of `keys` was not told within `window` seconds."""

    async def recent(self, person: str, since: float) -> int:
        """How many SMS were sent to the person since, those in hand included."""

    async def settle(self, id: str, state: State, sid: str = "") -> None:
        """The fate of a message is known."""

    async def release(self, id: str) -> None:
        """The provider never took it: as if it had not been claimed."""

    async def hold(self, id: str, owner: str, now: float, until: float) -> Entry | None:
        """The open message, in this owner's hand until `until`; None when it is settled or in another's hand."""

    async def orphans(self, now: float) -> list[str]:
        """Open messages that nobody has in hand."""

    async def abandon(self, owner: str) -> None:
        """What this owner had in hand in an earlier life is nobody's now."""

    async def get(self, id: str) -> Entry | None:
        """A message by its id."""

    async def by_sid(self, sid: str) -> Entry | None:
        """A message by the provider's name of it."""

    async def delivered(self, id: str, delivery: str) -> bool:
        """The provider's last word on a message's delivery; False when it was said before."""

    async def undecided(self, since: float) -> list[Entry]:
        """Messages sent since of which no delivery report is final."""

    async def close(self) -> None:
        """Let go of files and connections."""
