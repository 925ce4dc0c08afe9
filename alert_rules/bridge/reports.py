"""What the provider says of an SMS on its way to the phone; one that does not arrive is told by mail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from alert_rules.bridge.instead import Instead
from alert_rules.bridge.ledger import FINAL, State
from alert_rules.bridge.ledger_safe import SafeLedger
from alert_rules.bridge.metrics import Metrics
from alert_rules.bridge.provider import LookError, Provider
from provisioning.config.people import Person

log = logging.getLogger(__name__)
_SOON = 600.0  # s after sending in which a report is asked for at every look
_LATE = 14_400.0  # s after which none is expected: the text has expired on its way
_RARELY = 20  # looks of which one asks for the older ones too


class Reports:
    """Delivery reports, pushed by the provider or asked for."""

    def __init__(
        self,
        ledger: SafeLedger,
        instead: Instead,
        metrics: Metrics,
        people: Callable[[str], Person | None],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._instead = instead
        self._metrics = metrics
        self._people = people
        self._clock = clock
        self._looks = 0

    async def take(self, sid: str, id: str, status: str, error: str) -> None:
        """One report. That there is one proves that the provider has the message, should its answer have been lost."""
        entry = await self._ledger.by_sid(sid) or (await self._ledger.get(id) if id else None)
        if entry is None:
            log.info("a delivery report about %s, which is not in the ledger, says %s", sid, status)
            return
        if entry.state is State.OPEN:
            await self._ledger.settle(entry.id, State.SENT, sid)
        if status not in FINAL or not await self._ledger.delivered(entry.id, status):
            return
        self._metrics.deliveries.labels(status).inc()
        if status == "delivered":
            log.info("the SMS %s to %s arrived", sid, entry.person)
            return
        why = f"the SMS was {status} on its way to the phone" + (f" (error {error})" if error else "")
        person = self._people(entry.person)
        if person is not None:
            await self._instead.mail(person, entry.body, why)

    async def ask(self, provider: Provider) -> None:
        """Asks for the reports that are still to come."""
        now = self._clock()
        self._looks += 1
        since = _LATE if self._looks % _RARELY == 0 else _SOON
        for entry in await self._ledger.undecided(now - since):
            try:
                status, error = await provider.delivery(entry.sid)
            except LookError as problem:
                log.info("%s", problem)
                return
            await self.take(entry.sid, entry.id, status, error)
            await asyncio.sleep(0)
