"""Plays one scenario: breaks, waits until people know, mends, waits until they know that too, and judges."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from tests.gameday.acknowledging import Acknowledgement, acknowledge
from tests.gameday.actions import ACTIONS
from tests.gameday.messages import IN_PLACE, Message, Part
from tests.gameday.people import ADDRESSES
from tests.gameday.scenario import Scenario
from tests.gameday.stack import PEER_TIMEOUT
from tests.gameday.stage import Stage
from tests.gameday.waiting import until
from tests.gameday.watching import Episode, Watch

QUIET = 90.0  # s for everything to be well again before the next fault
DELIVERY = 20.0  # s from an alert that fires to the last person told
ENDING = 40.0  # s from the alert's end to the last person told
BEAT, BEATS = 60.0, 3  # s of production between two heartbeats, and how many may stay away before somebody is called
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

    def __init__(
        self,
        stage: Stage,
        watch: Watch,
        scenario: Scenario,
        told: Mapping[str, Collection[str]],
        lingering: Collection[str] = (),
    ) -> None:
        """`lingering`: what earlier scenarios are about whose alerts have not ended yet."""
        self.scenario = scenario
        self.result = Result(scenario)
        self._stage, self._watch, self._lingering = stage, watch, lingering
        self._wanted = _pairs(told)
        self._allowed = self._wanted | _pairs(scenario.perhaps)
        self._acknowledgement: Acknowledgement | None = None
        self._wait = 0.0  # s, the `for` of its alert
        self._begun = self._healed = time.time()

    async def run(self) -> None:
        """Breaks and mends. Never raises for what goes wrong in the scenario: that is a problem of the result."""
        if why := next((why for need in self.scenario.all_needs if (why := self._stage.lacks(need))), None):
            self.result.skipped = why
            return
        await self._until_quiet()
        if self.scenario.alert is not None:
            self._wait = (await self._watch.waits())[self.scenario.alert]
        self._begun = time.time()
        try:
            async with AsyncExitStack() as faults:
                await self._break(faults)
                await self._notice()
        except Exception as error:  # noqa: BLE001 -- the next scenario must be played
            self._problem(f"the game itself failed: {type(error).__name__}: {error}")
        self._healed = time.time()

    async def finish(self) -> None:
        """Waits until people know that it is over, and judges."""
        if not self.result.skipped:
            await self._end()
            self._judge()
            self._keep()

    def _keep(self) -> None:
        """What was said, for whoever wonders about the verdict."""
        with (self._stage.folder / "messages.txt").open("a") as file:
            file.write(f"===== {self.scenario.name}: {'; '.join(self.result.problems) or 'good'}\n")
            for one in self._watch.begun_since(self._begun):
                ended = "" if one.ended is None else f" to {one.ended - self._begun:.1f} s"
                file.write(f"* {one.title} from {one.begun - self._begun:.1f} s{ended}: {one.summary}\n")
            for message in self._all_messages():
                head = f"{message.at - self._begun:.1f} s, {message.channel} to {message.to}"
                aside = "" if self._counts(message) else " (not counted)"
                file.write(f"--- {head}{aside}: {message.subject}\n{message.text}\n")

    async def _until_quiet(self) -> None:
        left: list[str] = []

        async def quiet() -> bool:
            left[:] = await self._watch.left(but=self._lingering)
            return not left

        if not await until(quiet, QUIET, 0.5):
            self._problem(f"was not quiet before: {', '.join(left)}")

    async def _break(self, faults: AsyncExitStack) -> None:
        for step in self.scenario.faults:
            for name, parameters in step.items():
                await faults.enter_async_context(ACTIONS[name](self._stage, **parameters))

    async def _notice(self) -> None:
        """While it is broken. What goes wrong here must not keep the fault from being mended."""
        try:
            if self.scenario.alert is None:
                await asyncio.sleep(self.scenario.within + self.scenario.hold / self._stage.factor)
                return
            limit = self._wait + self.scenario.within
            episode = await until(self._caught, limit)
            if episode is None:
                self._problem(f"{self.scenario.alert} did not fire within {limit:.0f} s")
                return
            self.result.fired_after = episode.begun - self._begun
            await until(lambda: self._wanted <= set(self._told()), DELIVERY)
            if self.scenario.acknowledge:
                self._acknowledgement = await acknowledge(self._stage, self._messages())
                self.result.acknowledged = bool(await until(lambda: episode.silenced, DELIVERY))
            await asyncio.sleep(self.scenario.hold / self._stage.factor + AFTERMATH)
        except Exception as error:  # noqa: BLE001
            self._problem(f"while it was broken: {type(error).__name__}: {error}")

    async def _end(self) -> None:
        try:
            await self._until_over()
        finally:
            await self._take_back()
        if self.result.resolved_after is not None:
            # As long as something aside ails the same target, the mail that says "mended" says what is not.
            await until(lambda: self._all_know_the_end() or not self._still_aside(), self.scenario.ends_within)
            await until(self._all_know_the_end, ENDING)
            await asyncio.sleep(AFTERMATH)

    async def _take_back(self) -> None:
        """Else the acknowledgement would hide the next scenario's incident."""
        if self._acknowledgement is None:
            return
        try:
            await self._acknowledgement.take_back()
        except httpx.HTTPError as error:
            self._problem(f"the acknowledgement could not be taken back: {type(error).__name__}: {error}")

    async def _until_over(self) -> None:
        if self.result.fired_after is None:
            return
        limit = self.scenario.ends_within
        if not await until(lambda: self._over() is not None, self._healed + limit - time.time()):
            self._problem(f"{self.scenario.alert} still fires {limit:.0f} s after the mending")
            return
        self.result.resolved_after = max(0.0, (self._over() or 0.0) - self._healed)

    def _over(self) -> float | None:
        fitting = [one for one in self._episodes() if self._fits(one)]
        return max(one.ended or 0.0 for one in fitting) if fitting and all(one.ended for one in fitting) else None

    def _still_aside(self) -> bool:
        return any(one.name in self.scenario.aside for one in self._watch.firing())

    def _all_know_the_end(self) -> bool:
        if not self.scenario.resolves:
            return True
        ends = Counter(map(_to, (one for one in self._messages() if one.resolved)))
        return {one for one in self._wanted if one[1] == "mail"} <= set(ends)

    def _caught(self) -> Episode | None:
        return next((one for one in self._episodes() if self._fits(one)), None)

    def _episodes(self) -> list[Episode]:
        """What began to fire since, and is about this scenario."""
        since = self._watch.begun_since(self._begun)
        return [one for one in since if self._fits(one) or self._concerns(f"{one.name} {one.subject}")]

    def _concerns(self, text: str) -> bool:
        """Whether an alert, or what is told of one, is not another scenario's, nor aside."""
        if self.scenario.lingers:
            return self.scenario.subject in text
        return not any(subject in text for subject in (*self._lingering, *self.scenario.aside))

    def _fits(self, episode: Episode) -> bool:
        return self.scenario.alert is not None and episode.fits(self.scenario.alert, self.scenario.labels)

    def _messages(self) -> list[Message]:
        """What people were told that counts here."""
        return [one for one in self._all_messages() if self._counts(one)]

    def _all_messages(self) -> list[Message]:
        return [one for one in self._stage.ledger.since(self._begun) if one.channel != "heartbeat"]

    def _counts(self, message: Message) -> bool:
        """Whether it tells what matters here, whatever else stands in it."""
        news = message.news
        if message.resolved:  # the late end of an earlier scenario's alert names nothing that fired since
            begun = {one.name for one in self._watch.begun_since(self._begun) if one.begun < message.at}
            news = [part for part in news if part.alert in begun]
        earlier = [
            part
            for one in self._all_messages()
            if (one.resolved, _to(one)) == (message.resolved, _to(message)) and one.at < message.at
            for part in one.news
        ]
        matters = [part for part in news if self._matters(part)]
        # Sent for something aside, it repeats what was told before; sent for nothing new at all, it is one too many.
        aside = [part for part in news if part not in matters]
        repeats = all(_among(earlier, part) for part in matters)
        return bool(matters) and not (repeats and not all(_among(earlier, part) for part in aside))

    def _matters(self, part: Part) -> bool:
        """Whether it is the scenario's own alert, or any that is not aside."""
        return self._is_own(part) or self._concerns(f"{part.alert} {part.text}")

    def _is_own(self, part: Part) -> bool:
        return part.alert == self.scenario.alert and self.scenario.subject in part.text

    def _told(self) -> Counter[tuple[str, str]]:
        return Counter(map(_to, (one for one in self._messages() if not one.resolved and not self._overtaken(one))))

    def _overtaken(self, message: Message) -> bool:
        """Whether one of the pair told it a moment after the other had told its end, which docs/gameday.md explains."""
        begins = message.at - PEER_TIMEOUT / self._stage.factor - 1
        over = self._over()
        return (message.channel == "mail" and over is not None and over < message.at) and any(
            one.resolved and one.to == message.to and begins < one.at <= message.at for one in self._messages()
        )

    def _judge(self) -> None:
        result, scenario = self.result, self.scenario
        messages = self._messages()
        result.messages = self._told()
        result.ends = Counter(map(_to, (one for one in messages if one.resolved)))
        firing = [one for one in messages if not one.resolved]
        if firing:
            result.told_after = firing[0].at - self._begun
        result.others = sorted({one.title for one in self._episodes() if not self._fits(one)})
        self._judge_messages(firing)
        if scenario.heartbeat_stops and self._longest_silence() < BEATS * BEAT / self._stage.factor:
            self._problem("the heartbeat went on")
        unexpected = [one for one in result.others if one.partition("(")[0] not in scenario.beside]
        if unexpected:
            self._problem(f"also fired: {', '.join(unexpected)}")
        if scenario.acknowledge and not result.acknowledged:
            self._problem("the acknowledgement did not take")

    def _longest_silence(self) -> float:
        """Seconds without a heartbeat while it was broken."""
        beats = [one.at for one in self._stage.ledger.since(self._begun, self._healed) if one.channel == "heartbeat"]
        times = [self._begun, *beats, self._healed]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def _judge_messages(self, firing: list[Message]) -> None:
        result, scenario = self.result, self.scenario
        missing = self._wanted - set(result.messages)
        if missing and result.fired_after is not None:
            self._problem(f"not told: {_people(missing)}")
        for who, count in result.messages.items():
            if who not in self._allowed:
                texts = [one.subject or one.text.splitlines()[0] for one in firing if _to(one) == who]
                self._problem(f"told though not meant: {_people([who])}: {' | '.join(texts)}")
            elif count > self._most(who):
                texts = [one.subject or one.text.splitlines()[0] for one in firing if _to(one) == who]
                self._problem(f"{count} messages to {_people([who])}: {' | '.join(texts)}")
        for who, count in result.ends.items():
            if count > self._most(who):
                self._problem(f"{count} times told of the end: {_people([who])}")
        mails = {one for one in self._wanted if one[1] == "mail"}
        if result.fired_after is not None and scenario.resolves:
            unaware = mails - set(result.ends)
            if unaware:
                self._problem(f"not told of the end: {_people(unaware)}")

    def _most(self, who: tuple[str, str]) -> int:
        """How many messages are not too many."""
        again = who in _pairs(self.scenario.twice) or any(
            _to(one) == who for one in self._messages() if not one.resolved and self._overtaken(one)
        )
        return 2 if again else 1

    def _problem(self, text: str) -> None:
        self.result.problems.append(text)


def _among(parts: Collection[Part], part: Part) -> bool:
    return any((one.alert, one.when) == (part.alert, part.when) for one in parts)


def _pairs(told: Mapping[str, Collection[str]]) -> set[tuple[str, str]]:
    return {(person, channel) for person, channels in told.items() for channel in channels}


def _to(message: Message) -> tuple[str, str]:
    person, means = ADDRESSES.get(message.to, (message.to, message.channel))
    return person, "sms" if message.subject.startswith(IN_PLACE) else means


def _people(pairs: object) -> str:
    return ", ".join(f"{person} by {channel}" for person, channel in sorted(pairs))  # type: ignore[call-overload]
