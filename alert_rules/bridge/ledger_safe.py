"""The ledger that never fails: while the real one does, this process's own memory stands in for it.

Being told twice is bad and not being told at all is worse, so an outage of the ledger stops nobody's SMS. What is told
meanwhile is doubtful: the provider is asked first whether somebody else has told it already.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from alert_rules.bridge.ledger import Claim, Entry, Ledger, LedgerError, State
from alert_rules.bridge.ledger_file import FileLedger

log = logging.getLogger(__name__)
T = TypeVar("T")


class SafeLedger:
    """A ledger with a stand-in."""

    def __init__(self, real: Ledger, failed: Callable[[], None]) -> None:
        """`failed` is told of every failure of the real ledger."""
        self._real = real
        self._failed = failed
        self._stand_in = FileLedger(None)
        self._doubtful_until = 0.0
        self._owed: dict[str, tuple[State, str]] = {}  # fates that the real one does not know yet
        self._well = True

    async def claim(self, entry: Entry, keys: Sequence[str], window: float) -> tuple[Claim, bool]:
        """See Ledger; also whether somebody may have told it without our knowing."""
        try:
            claim = await self._real.claim(entry, keys, window)
        except LedgerError as error:
            self._note(error)
            self._doubtful_until = entry.made + window
            return await self._stand_in.claim(entry, keys, window), True
        self._recovered()
        return claim, entry.made < self._doubtful_until

    async def recent(self, person: str, since: float) -> int:
        """See Ledger."""
        here = await self._stand_in.recent(person, since)
        return here + await self._try(lambda: self._real.recent(person, since), 0)

    async def settle(self, id: str, state: State, sid: str = "") -> None:
        """See Ledger. What the real one fails to note it is told when it is back."""
        await self._stand_in.settle(id, state, sid)
        self._owed[id] = (state, sid)
        await self._pay()

    async def release(self, id: str) -> None:
        """See Ledger."""
        await self._stand_in.release(id)
        await self._try(lambda: self._real.release(id), None)

    async def hold(self, id: str, owner: str, now: float, until: float) -> Entry | None:
        """See Ledger. Raises LedgerError: what is not known to be ours must not be sent."""
        here = await self._stand_in.hold(id, owner, now, until)
        return here or await self._real.hold(id, owner, now, until)

    async def orphans(self, now: float) -> list[str]:
        """See Ledger."""
        await self._pay()
        nothing: list[str] = []
        return [id for id in await self._try(lambda: self._real.orphans(now), nothing) if id not in self._owed]

    async def abandon(self, owner: str) -> None:
        """See Ledger."""
        await self._try(lambda: self._real.abandon(owner), None)

    async def get(self, id: str) -> Entry | None:
        """See Ledger."""
        return await self._stand_in.get(id) or await self._try(lambda: self._real.get(id), None)

    async def by_sid(self, sid: str) -> Entry | None:
        """See Ledger."""
        return await self._stand_in.by_sid(sid) or await self._try(lambda: self._real.by_sid(sid), None)

    async def delivered(self, id: str, delivery: str) -> bool:
        """See Ledger."""
        here = await self._stand_in.delivered(id, delivery)
        return await self._try(lambda: self._real.delivered(id, delivery), otherwise=False) or here

    async def undecided(self, since: float) -> list[Entry]:
        """See Ledger."""
        here = await self._stand_in.undecided(since)
        nothing: list[Entry] = []
        return here + await self._try(lambda: self._real.undecided(since), nothing)

    async def close(self) -> None:
        """See Ledger."""
        await self._stand_in.close()
        await self._real.close()

    async def _pay(self) -> None:
        for id, (state, sid) in list(self._owed.items()):
            try:
                await self._real.settle(id, state, sid)
            except LedgerError as error:
                self._note(error)
                return
            self._owed.pop(id, None)

    async def _try(self, ask: Callable[[], Awaitable[T]], otherwise: T) -> T:
        try:
            found = await ask()
        except LedgerError as error:
            self._note(error)
            return otherwise
        self._recovered()
        return found

    def _note(self, error: LedgerError) -> None:
        self._failed()
        if self._well:
            log.error("the ledger fails, so SMS go out after a look at what the provider has: %s", error)
        self._well = False

    def _recovered(self) -> None:
        if not self._well:
            log.info("the ledger is back")
        self._well = True
