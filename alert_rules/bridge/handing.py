"""Hands a message to the provider, and finds out what became of it where the answer does not say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alert_rules.bridge.ledger import Entry, LedgerError
from alert_rules.bridge.ledger_safe import SafeLedger
from alert_rules.bridge.metrics import Metrics
from alert_rules.bridge.provider import Handed, LookError, NotTaken, Provider, Taken, Unknown
from provisioning.config.people import Person

log = logging.getLogger(__name__)
_SKEW = 30.0  # s our clock may be ahead of the provider's


class OutOfHandError(Exception):
    """Another bridge looks after the message now, or its fate is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds."""

    window: float
    """How long a told alert is not told again: longer than Alertmanager retries, shorter than it repeats."""
    looks: Sequence[float] = (1.0, 3.0, 8.0, 20.0)
    """Pauses before each look at the provider's list, where it is not known whether it took a message."""
    lease: float = 60.0
    """How long a message is one bridge's own; longer than handing over and the longest of `looks` take."""
    patience: float = 120.0
    """How long an SMS waits for the provider before the person gets a mail as well."""
    wait: float = 20.0
    """How long a request waits for another bridge that has the same message in hand."""
    poll: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Handing:
    """What passes between one bridge and its provider."""

    ledger: SafeLedger
    provider: Provider
    metrics: Metrics
    owner: str
    pace: Pace
    clock: Callable[[], float]

    async def hand_over(self, person: Person, entry: Entry) -> Handed:
        """Hands it to the provider; where the outcome is not known, what its list says of it. As `look_into`."""
        handed = await self.provider.send(str(person.sms), entry.body, entry.id)
        if isinstance(handed, Taken):
            return handed
        self.metrics.failures.labels(handed.reason).inc()
        log.warning("handing over an SMS to %s: %s", person.name, handed.why)
        return await self.look_into(person, entry, handed) if isinstance(handed, Unknown) else handed

    async def look_into(self, person: Person, entry: Entry, unknown: Unknown) -> Handed:
        """Asks the provider's list, several times: what was handed over may show late.

        Taken when it is there, NotTaken when it was not there at the last look, else Unknown. Raises OutOfHandError.
        """
        absent = False
        for pause in self.pace.looks:
            await asyncio.sleep(pause)
            if await self.hold(entry.id) is None:
                raise OutOfHandError
            try:
                sid = await self._listed(person, entry, entry.made - _SKEW)
            except LookError as error:
                log.warning("%s", error)
                absent = False
                continue
            if sid:
                return Taken(sid)
            absent = True
        return NotTaken(unknown.reason, f"{unknown.why}, and the provider does not list it") if absent else unknown

    async def told_elsewhere(self, person: Person, entry: Entry, since: float) -> str | None:
        """Whether the provider has it already; told, if it cannot be asked: twice is better than not at all."""
        try:
            found = await self.provider.find(str(person.sms), entry.body, since)
        except LookError as error:
            log.warning("%s", error)
            return None
        return found[0] if found else None

    async def _listed(self, person: Person, entry: Entry, since: float) -> str | None:
        """The provider's name of this message if it has it. Raises LookError."""
        for sid in await self.provider.find(str(person.sms), entry.body, since):
            known = await self.ledger.by_sid(sid)
            if known is None or known.id == entry.id:
                return sid
        return None

    async def hold(self, id: str) -> Entry | None:
        """The open message, in our hand for the length of a lease; None when it cannot be had."""
        now = self.clock()
        try:
            return await self.ledger.hold(id, self.owner, now, now + self.pace.lease)
        except LedgerError:
            return None
