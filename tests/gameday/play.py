"""Plays one scenario: breaks, waits until people know, mends, waits until they know that too, and judges."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tests.gameday import acknowledging
from tests.gameday.actions import ACTIONS
from tests.gameday.messages import Message
from tests.gameday.people import ADDRESSES
from tests.gameday.scenario import Scenario
from tests.gameday.stage import Stage
from tests.gameday.waiting import until
from tests.gameday.watching import Episode, Watch

QUIET = 90.0  # s for everything to be well again before the next fault
DELIVERY = 20.0  # s from an alert that fires to the last person told
ENDING = 90.0  # s from mended to the last person told
AFTERMATH = 2.0  # s in which a message too many would come


@dataclass
class Result:
    """What came of a scenario."""

    scenario: Scenario
    skipped: str = ""
    fired_after: float | None = None
    """Seconds from the fault to the alert."""
    told_after: float | None = None
    """Seconds from the fault to the first message."""
    messages: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages that something is wrong, by person and channel."""
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages that it is over."""
    others: list[str] = field(default_factory=list)
    """Other alerts that fired."""
    acknowledged: bool | None = None
    resolved_after: float | None = None
    """Seconds from the mending to the end of the alert."""
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems


class Play:
    """One scenario on a stage."""

    def __init__(self, stage: Stage, watch: Watch, scenario: Scenario, told: dict[str, frozenset[str]]) -> None:
        self._stage, self._watch, self._scenario = stage, watch, scenario
        self._wanted = {(person, channel) for person, channels in told.items() for channel in channels}
        self._result = Result(scenario)
        self._begun = time.time()

    async def run(self) -> Result:
        """Never raises for what goes wrong in the scenario: that is a problem of the result."""
        if why := next((why for need in self._scenario.all_needs if (why := self._stage.lacks(need))), None):
            self._result.skipped = why
            return self._result
        await self._until_quiet()
        self._begun = time.time()
        try:
            async with AsyncExitStack() as faults:
                await self._break(faults)
                await self._notice()
            await self._mended(time.time())
        except Exception as error:  # noqa: BLE001 -- the next scenario must be played
            self._problem(f"the game itself failed: {type(error).__name__}: {error}")
        self._judge()
        return self._result

    async def _until_quiet(self) -> None:
        if not await until(self._watch.quiet, QUIET, 0.5):
            left = [one.title for one in self._watch.firing()] or sorted(await self._watch.pending())
            self._problem(f"was not quiet before: {', '.join(left) or 'an Alertmanager still has something'}")

    async def _break(self, faults: AsyncExitStack) -> None:
        for step in self._scenario.faults:
            for name, parameters in step.items():
                await faults.enter_async_context(ACTIONS[name](self._stage, **parameters))

    async def _notice(self) -> None:
        """While it is broken. What goes wrong here must not keep the fault from being mended."""
        try:
            if self._scenario.alert is None:
                await asyncio.sleep(self._scenario.within)
                return
            waits = await self._watch.waits()
            if self._scenario.alert not in waits:
                self._problem(f"there is no alert {self._scenario.alert}")
                return
            limit = waits[self._scenario.alert] + self._scenario.within
            episode = await until(self._caught, limit)
            if episode is None:
                self._problem(f"{self._scenario.alert} did not fire within {limit:.0f} s")
                return
            self._result.fired_after = episode.begun - self._begun
            await until(lambda: self._wanted <= set(self._told()), DELIVERY)
            if self._scenario.acknowledge:
                await acknowledging.acknowledge(self._stage, self._messages())
                self._result.acknowledged = bool(await until(lambda: episode.silenced, DELIVERY))
            await asyncio.sleep(self._scenario.hold / self._stage.factor + AFTERMATH)
        except Exception as error:  # noqa: BLE001
            self._problem(f"while it was broken: {type(error).__name__}: {error}")

    async def _mended(self, at: float) -> None:
        if self._scenario.alert is None or self._result.fired_after is None:
            return
        if not await until(lambda: self._caught() is None or self._over() is not None, ENDING):
            self._problem(f"{self._scenario.alert} still fires {ENDING:.0f} s after the mending")
            return
        over = self._over()
        self._result.resolved_after = None if over is None else max(0.0, over - at)
        await until(self._all_know_the_end, ENDING)
        await asyncio.sleep(AFTERMATH)

    def _over(self) -> float | None:
        fitting = [one for one in self._watch.since(self._begun) if self._fits(one)]
        return max(one.ended or 0.0 for one in fitting) if fitting and all(one.ended for one in fitting) else None

    def _all_know_the_end(self) -> bool:
        if self._scenario.acknowledge or not self._scenario.resolves:
            return True
        ends = Counter(map(_to, (one for one in self._messages() if one.resolved)))
        return {one for one in self._wanted if one[1] == "mail"} <= set(ends)

    def _caught(self) -> Episode | None:
        return next((one for one in self._watch.since(self._begun) if self._fits(one)), None)

    def _fits(self, episode: Episode) -> bool:
        return self._scenario.alert is not None and episode.fits(self._scenario.alert, self._scenario.labels)

    def _messages(self) -> list[Message]:
        return [one for one in self._stage.ledger.since(self._begun) if one.channel != "heartbeat"]

    def _told(self) -> Counter[tuple[str, str]]:
        return Counter(map(_to, (one for one in self._messages() if not one.resolved)))

    def _judge(self) -> None:
        result, scenario = self._result, self._scenario
        messages = self._messages()
        result.messages = self._told()
        result.ends = Counter(map(_to, (one for one in messages if one.resolved)))
        firing = [one for one in messages if not one.resolved]
        if firing:
            result.told_after = firing[0].at - self._begun
        result.others = sorted({one.title for one in self._watch.since(self._begun) if not self._fits(one)})
        self._judge_messages(firing)
        unexpected = [one for one in result.others if one.partition("(")[0] not in scenario.beside]
        if unexpected:
            self._problem(f"also fired: {', '.join(unexpected)}")
        if scenario.acknowledge and not result.acknowledged:
            self._problem("the acknowledgement did not take")

    def _judge_messages(self, firing: list[Message]) -> None:
        result, scenario = self._result, self._scenario
        missing = self._wanted - set(result.messages)
        if missing and result.fired_after is not None:
            self._problem(f"not told: {_people(missing)}")
        for who, count in result.messages.items():
            if who not in self._wanted:
                texts = [one.subject or one.text.splitlines()[0] for one in firing if _to(one) == who]
                self._problem(f"told though not meant: {_people([who])}: {' | '.join(texts)}")
            elif count > 1:
                texts = [one.subject or one.text.splitlines()[0] for one in firing if _to(one) == who]
                self._problem(f"{count} messages to {_people([who])}: {' | '.join(texts)}")
        for who, count in result.ends.items():
            if count > 1:
                self._problem(f"{count} times told of the end: {_people([who])}")
        mails = {one for one in self._wanted if one[1] == "mail"}
        if result.fired_after is not None and scenario.resolves and not scenario.acknowledge:
            unaware = mails - set(result.ends)
            if unaware:
                self._problem(f"not told of the end: {_people(unaware)}")

    def _problem(self, text: str) -> None:
        self._result.problems.append(text)


def _to(message: Message) -> tuple[str, str]:
    return ADDRESSES.get(message.to, (message.to, message.channel))


def _people(pairs: object) -> str:
    return ", ".join(f"{person} by {channel}" for person, channel in sorted(pairs))  # type: ignore[call-overload]
