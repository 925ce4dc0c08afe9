"""Tells one person of one notification, once: the rules by which nobody is told twice and nothing is lost.

A message is written down before it is sent. It is handed to the provider again only when the provider never took it,
for certain; where that is not known, the provider's own list of messages decides, and where that cannot be had, the
person gets a mail.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import partial

from alert_rules.bridge.handing import Handing, OutOfHandError, Pace
from alert_rules.bridge.instead import Instead, Mailed
from alert_rules.bridge.ledger import HOUR, Entry, State
from alert_rules.bridge.ledger_safe import SafeLedger
from alert_rules.bridge.metrics import Metrics
from alert_rules.bridge.provider import Handed, NotTaken, Provider, Refused, Taken, Unknown
from alert_rules.bridge.text import Style, compose
from alert_rules.bridge.webhook import Notification
from provisioning.config.people import Person

log = logging.getLogger(__name__)


class Told(Enum):
    """What Alertmanager is answered."""

    DONE = "done"
    """Nothing is left to do: the person is told, now or before."""
    AGAIN = "again"
    """Alertmanager must come again."""


@dataclass(slots=True)
class _Waiting:
    since: float
    mailed: bool = False


@dataclass(slots=True, kw_only=True)
class Deliveries:
    """All messages of this bridge."""

    ledger: SafeLedger
    provider: Provider
    instead: Instead
    metrics: Metrics
    style: Style
    cap: int
    owner: str
    pace: Pace
    clock: Callable[[], float] = time.time
    _handing: Handing = field(init=False)
    _under_way: dict[str, asyncio.Task[Told]] = field(default_factory=dict)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._handing = Handing(
            ledger=self.ledger,
            provider=self.provider,
            metrics=self.metrics,
            owner=self.owner,
            pace=self.pace,
            clock=self.clock,
        )

    async def tell(self, person: Person, notification: Notification) -> Told:
        """Tells the person what of this notification they were not told before."""
        begun = time.monotonic()
        keys = keys_of(person.name, notification)
        async with self._turns.setdefault(person.name, asyncio.Lock()):  # so that the cap is counted right
            now = self.clock()
            recent = await self.ledger.recent(person.name, now - HOUR)
            entry = Entry(
                id=secrets.token_hex(8),
                person=person.name,
                body=self._body(notification, recent + 1),
                made=now,
                owner=self.owner,
                until=now + self.pace.lease,
            )
            claim, doubtful = await self.ledger.claim(entry, keys, self.pace.window)
            if claim.granted:
                since = now - self.pace.window if doubtful else None
                first = partial(self._first, person, entry, keys, recent=recent, doubtful_since=since)
                task = self._begin(entry.id, first)
        if not claim.granted:
            return await self._told_by(claim.in_hand, person)
        told = await asyncio.shield(task)
        if told is Told.DONE:
            self.metrics.duration.observe(time.monotonic() - begun)
        return told

    async def sweep(self, people: Callable[[str], Person | None]) -> None:
        """Looks into messages that were in the hand of a bridge that is gone."""
        found: list[asyncio.Task[Told]] = []
        for id in await self.ledger.orphans(self.clock()):
            if id in self._under_way:
                continue
            entry = await self._handing.hold(id)
            person = people(entry.person) if entry else None
            if entry and person:
                found.append(self._begin(id, partial(self._orphan, person, entry)))
            elif entry:
                await self.ledger.settle(id, State.LOST)  # the person is no longer in the configuration
        await asyncio.gather(*found, return_exceptions=True)
        self._forget_old_waits()

    @property
    def unsettled(self) -> int:
        """How many messages this bridge has in hand."""
        return len(self._under_way)

    async def finish(self) -> None:
        """Lets messages in hand go; what is open stays written down for the next start."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _body(self, notification: Notification, number: int) -> str:
        """The text; the last SMS that the cap allows says so."""
        now = datetime.fromtimestamp(self.clock(), UTC)
        notice = f"SMS {number} of {self.cap} this hour, the next ones go by mail." if number >= self.cap else ""
        return compose(notification, self.style, now, notice)

    def _begin(self, id: str, work: Callable[[], Awaitable[Told]]) -> asyncio.Task[Told]:
        """Goes on by itself: a caller who hangs up must not leave a message half sent. One at a time for a message."""
        if id in self._under_way:
            return self._under_way[id]
        task = asyncio.create_task(self._careful(work))
        self._under_way[id] = task
        task.add_done_callback(lambda _: self._under_way.pop(id, None))
        return task

    async def _careful(self, work: Callable[[], Awaitable[Told]]) -> Told:
        try:
            return await work()
        except OutOfHandError:
            return Told.AGAIN
        except Exception:
            # What it had written down is looked into when Alertmanager comes again.
            log.exception("a message could not be dealt with")
            return Told.AGAIN

    async def _told_by(self, other: Entry | None, person: Person) -> Told:
        """Another request, bridge or life of this one has told it, or is about to."""
        if other is None:
            self.metrics.messages.labels("duplicate").inc()
            return Told.DONE
        if other.id in self._under_way:
            return await asyncio.shield(self._under_way[other.id])
        end = time.monotonic() + self.pace.wait
        while True:
            held = await self._handing.hold(other.id)
            if held is not None:
                return await asyncio.shield(self._begin(held.id, partial(self._orphan, person, held)))
            now = await self.ledger.get(other.id)
            if now is None:
                return Told.AGAIN
            if now.state is not State.OPEN:
                self.metrics.messages.labels("duplicate").inc()
                return Told.DONE
            if time.monotonic() > end:
                return Told.AGAIN
            await asyncio.sleep(self.pace.poll)

    async def _first(
        self,
        person: Person,
        entry: Entry,
        keys: Sequence[str],
        *,
        recent: int,
        doubtful_since: float | None,
    ) -> Told:
        """A message that was never handed over, as far as we know."""
        if recent >= self.cap:
            self.metrics.messages.labels("capped").inc()
            return await self._mail(person, entry, f"{person.name} had {self.cap} SMS within the hour")
        if doubtful_since is not None and (sid := await self._handing.told_elsewhere(person, entry, doubtful_since)):
            return await self._taken(entry, sid)
        handed = await self._handing.hand_over(person, entry)
        if isinstance(handed, NotTaken):
            await self.ledger.release(entry.id)
            return await self._not_taken(person, entry, handed.why, "".join(keys))
        return await self._end(person, entry, handed)

    async def _orphan(self, person: Person, entry: Entry) -> Told:
        """A message that somebody may have handed over before they went away."""
        log.warning("a message to %s was in hand when a bridge ended; looking whether it left", person.name)
        handed = await self._handing.look_into(
            person, entry, Unknown("timeout", "the bridge ended while it was sending")
        )
        if isinstance(handed, NotTaken):
            handed = await self._handing.hand_over(person, entry)
        if isinstance(handed, NotTaken) and self.clock() - entry.made < self.pace.patience:
            # It stays open, and is looked into again when Alertmanager comes or nobody holds it.
            self.metrics.messages.labels("waiting").inc()
            return Told.AGAIN
        return await self._end(person, entry, handed)

    async def _end(self, person: Person, entry: Entry, handed: Handed) -> Told:
        """Nothing more can be done to send it: it is sent, or told by mail."""
        match handed:
            case Taken(sid):
                return await self._taken(entry, sid)
            case Unknown(_, why):
                self.metrics.messages.labels("unknown").inc()
                return await self._mail(person, entry, f"{why}, so the SMS may or may not reach you", sent_perhaps=True)
            case NotTaken(_, why) | Refused(_, why):
                self.metrics.messages.labels("refused").inc()
                return await self._mail(person, entry, why)

    async def _taken(self, entry: Entry, sid: str) -> Told:
        await self.ledger.settle(entry.id, State.SENT, sid)
        self.metrics.messages.labels("sent").inc()
        self.metrics.last_sent.set(self.clock())
        log.info("an SMS to %s was taken by the provider as %s", entry.person, sid)
        return Told.DONE

    async def _not_taken(self, person: Person, entry: Entry, why: str, what: str) -> Told:
        """Alertmanager comes again; where that goes on too long, a mail says so."""
        self.metrics.messages.labels("waiting").inc()
        wait = self._waiting.setdefault(what, _Waiting(self.clock()))
        if not wait.mailed and self.clock() - wait.since >= self.pace.patience:
            mailed = await self.instead.mail(person, entry.body, f"{why}; the SMS follows when it can")
            wait.mailed = mailed is not Mailed.FAILED
        return Told.AGAIN

    async def _mail(self, person: Person, entry: Entry, why: str, *, sent_perhaps: bool = False) -> Told:
        """Told by mail; where none can leave at the moment, Alertmanager comes again."""
        match await self.instead.mail(person, entry.body, why):
            case Mailed.SENT:
                await self.ledger.settle(entry.id, State.MAILED)
            case Mailed.IMPOSSIBLE:
                await self.ledger.settle(entry.id, State.LOST)
            case Mailed.FAILED:
                if not sent_perhaps:  # else it stays open: the provider is asked again
                    await self.ledger.release(entry.id)
                return Told.AGAIN
        return Told.DONE

    def _forget_old_waits(self) -> None:
        old = self.clock() - max(self.pace.window, HOUR)
        for what in [what for what, wait in self._waiting.items() if wait.since < old]:
            del self._waiting[what]


def keys_of(person: str, notification: Notification) -> list[str]:
    """One for each thing that this notification tells the person; equal when it tells the same again.

    An alert's start is in it, so that a fault that comes back is told again.
    """
    tells = [(alert.fingerprint, alert.starts_at) for alert in notification.current]
    if notification.truncated:
        tells.append(("truncated", str(notification.truncated)))
    common = [notification.group_key, notification.status, person]
    return [hashlib.sha256(json.dumps([*common, *tell]).encode()).hexdigest()[:32] for tell in tells]
