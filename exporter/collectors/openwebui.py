"""Open WebUI: is it up and ready, who may enter, what people do with which model, which backends it reaches.

Facts come from its source (0.12.4: main.py, routers/, utils/auth.py). Without an API key the public part is read.
`/api/v1/chats/all/db`, which answers every chat's full text, is never called.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import ClassVar

from exporter.apart import fairly, here
from exporter.collectors import openwebui_people as people
from exporter.collectors import openwebui_public as public
from exporter.collectors import openwebui_usage as usage
from exporter.collectors.base import Clock, Collector, Outcome, Part, Wires, once
from exporter.collectors.openwebui_access import Access, refusal
from exporter.collectors.openwebui_answers import Version, content, is_missing
from exporter.collectors.openwebui_backends import KEEP, Backends
from exporter.errors import CollectError
from exporter.families import Family
from provisioning.config.hosts import HostNames
from provisioning.config.targets import OpenWebUITarget, System

IDS_SINCE: Version = (0, 6, 42)
LEADERBOARD_SINCE: Version = (0, 7, 0)
# An answer that took the server long is kept at least this many times as long: the monitor takes at most a hundredth
# of its time. Listing 10,000 users holds Open WebUI up for half a second.
THRIFT = 100.0
LONGEST_KEPT = 600.0
WHO_ARE_WE = ("/api/v1/users/user/status", "/api/v1/auths/")

AskVersion = Callable[[], Awaitable[tuple[str, Version | None]]]
Admit = Callable[[], Awaitable[None]]
Ask = Callable[[], Awaitable[list[Family]]]


class OpenWebUICollector(Collector):
    """One Open WebUI server."""

    system: ClassVar[System] = "openwebui"
    prefix: ClassVar[str] = "openwebui"
    part_names: ClassVar[tuple[str, ...]] = (
        "health", "ready", "config", "key", "users", "groups", "models", "analytics", "feedback", "backends",
    )  # fmt: skip

    def __init__(
        self,
        target: OpenWebUITarget,
        wires: Wires,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refresh = target.refresh
        self._patience = target.timeout
        self._clock = clock
        self._monotonic = monotonic
        self._http = wires.http(target)
        self._access = Access(self._http, configured=target.api_key_file is not None)
        self._seconds: dict[str, float] = {}
        self._names = usage.ModelNames()
        self._usage = usage.Usage(self._names)
        self._backends = Backends(self._access, target.refresh, monotonic)

    @classmethod
    def build(cls, target: OpenWebUITarget, wires: Wires, hosts: HostNames, clock: Clock) -> OpenWebUICollector:
        """A collector for one configured Open WebUI."""
        del hosts  # nothing here belongs to a host
        return cls(target, wires, clock)

    def parts(self) -> Mapping[str, Part]:
        """The public part, and with a key the administrator's part."""
        self._access.forget()
        version = once(partial(public.version, self._http, self._patience))
        parts = {
            "health": Part(partial(self._health, version)),
            "ready": Part(partial(self._ready, version)),
            "config": Part(self._config),
        }
        if not self._access.configured:
            return parts
        check = once(partial(self._access.check, self._patience))
        admit = partial(self._admit, check)
        kept = self._refresh
        return parts | {
            "key": Part(partial(self._key, check)),
            "users": self._thrifty("users", partial(self._users, admit)),
            "groups": self._thrifty("groups", partial(self._groups, admit)),
            "models": Part(partial(self._models, admit), keep=kept),
            "analytics": self._thrifty("analytics", partial(self._analytics, admit, version)),
            "feedback": self._thrifty("feedback", partial(self._feedback, admit, version)),
            "backends": Part(partial(self._reachability, admit), keep=min(KEEP, kept)),
        }

    def standing(self) -> list[Family]:
        """The state of the key and the counters."""
        return [self._access.status(), *self._usage.seen()]

    def is_up(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether it answered as Open WebUI, which needs no key, no database and no backend."""
        return outcomes["health"].error is None

    def _thrifty(self, name: str, ask: Ask) -> Part:
        """A part kept for `refresh`, and longer when its last answer cost the server much."""

        async def timed() -> list[Family]:
            started = self._monotonic()
            try:
                return await ask()
            finally:
                self._seconds[name] = self._monotonic() - started

        dear = min(LONGEST_KEPT, THRIFT * self._seconds.get(name, 0.0))
        return Part(timed, keep=max(self._refresh, dear))

    async def _health(self, version: AskVersion) -> list[Family]:
        text, _ = await version()
        return [public.info(text)]

    async def _ready(self, version: AskVersion) -> list[Family]:
        answer = await self._http.ask(public.READY)
        _, number = await version()
        return public.ready(answer, number)

    async def _config(self) -> list[Family]:
        return public.doors(await self._http.json(public.CONFIG))

    async def _admit(self, check: Admit) -> None:
        """Go on unless the key is known to be useless, so that a bad key costs the server one call a collection."""
        try:
            await check()
        except CollectError:
            if self._access.shut:
                raise

    async def _key(self, check: Admit) -> list[Family]:
        await check()
        return [await self._access.running_tasks()]

    async def _users(self, admit: Admit) -> list[Family]:
        await admit()
        own = await self._own_id()
        count = partial(people.users, own_id=own, now=self._clock())
        families = await fairly(count, await self._access.json(people.USERS))
        if people.tells_activity(families):
            return families
        by_role = [family for family in families if family.name != people.ACTIVE]
        return by_role + people.active_now(await self._access.json(people.USAGE))

    async def _own_id(self) -> str | None:
        """The id of the key's owner.

        `/api/v1/auths/` tells keys in 0.8 and only people in 0.12; the other path is missing in 0.6 and refused where
        user status is switched off (ENABLE_USER_STATUS).
        """
        for path in WHO_ARE_WE:
            answer = await self._access.ask(path)
            found = people.own_id(content(answer), path) if answer.status == 200 else None  # noqa: PLR2004
            if found is not None:
                return found
        return None

    async def _groups(self, admit: Admit) -> list[Family]:
        await admit()
        return await fairly(people.groups, await self._access.json(people.GROUPS))

    async def _models(self, admit: Admit) -> list[Family]:
        await admit()
        answer = await self._access.json(usage.MODELS)
        self._backends.answered(await fairly(usage.answering_ollamas, answer))
        return await fairly(usage.models, answer)

    async def _analytics(self, admit: Admit, version: AskVersion) -> list[Family]:
        await admit()
        await version()  # it is Open WebUI that answers, so its web page below means a missing route
        summary = await self._access.ask(usage.SUMMARY)
        if is_missing(summary):
            return [usage.analytics_available(available=False)]
        if summary.status != 200:  # noqa: PLR2004
            raise refusal(summary, usage.SUMMARY)
        families = [usage.analytics_available(available=True), *usage.chats(content(summary))]
        # One after the other: each of them scans the same table.
        messages = await fairly(usage.read_messages, await self._access.json(usage.MESSAGES))
        tokens = await fairly(usage.read_tokens, await self._access.json(usage.TOKENS))
        families += self._usage.messages(messages)
        return families + await here(self._usage.tokens, tokens)

    async def _feedback(self, admit: Admit, version: AskVersion) -> list[Family]:
        await admit()
        _, number = await version()
        families: list[Family] = []
        if _has(number, IDS_SINCE):
            families += await fairly(usage.feedbacks, await self._access.json(usage.FEEDBACKS))
        if _has(number, LEADERBOARD_SINCE):
            families += usage.leaderboard(await self._access.json(usage.LEADERBOARD), self._names)
        return families

    async def _reachability(self, admit: Admit) -> list[Family]:
        await admit()
        return await self._backends.families()


def _has(version: Version | None, since: Version) -> bool:
    """Whether a route that came with `since` can be there; an unreadable version is taken for a new one."""
    return version is None or version >= since


COLLECTOR = OpenWebUICollector
