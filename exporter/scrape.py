"""Runs the collections: one deadline for all parts of a target, shared by everybody who asks meanwhile.

A target's `Watch` lives as long as its configuration, so that counters and kept answers survive scrapes and reloads.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.collectors.base import Clock, Collector, Outcome, Part
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, counter, gauge
from exporter.kept import KeptPart
from provisioning.config.targets import Target

log = logging.getLogger(__name__)
LEAST = 0.25  # seconds a look lasts if it has to, however soon whoever began it wants an answer
CANCELLING = 0.1  # seconds a part that missed the deadline has to clean up before the answer leaves without it


@dataclass(frozen=True, slots=True)
class Collection:
    """What one look at a target gave."""

    up: bool
    families: list[Family]
    outcomes: Mapping[str, Outcome]
    finished: float  # seconds since the epoch
    seconds: float
    series: int

    @property
    def error(self) -> str | None:
        """One line on what is wrong, the first failing part; None when every part answered."""
        for name, outcome in self.outcomes.items():
            if outcome.error is not None:
                return f"{name}: {outcome.error}"
        return None


@dataclass(slots=True)
class _Run:
    """A collection in flight."""

    started: float  # monotonic
    ends: float  # monotonic; later when somebody with more time joins
    tasks: dict[str, asyncio.Task[list[Family]]]
    seconds: dict[str, float] = field(default_factory=dict)
    kept: dict[str, KeptPart] = field(default_factory=dict)
    waited_for: set[asyncio.Task[list[Family]]] = field(default_factory=set)
    done: asyncio.Task[Collection] | None = None


class Watch:
    """One target under watch."""

    def __init__(
        self,
        target: Target,
        collector: Collector,
        clock: Clock = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        certificate_expiry: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.target = target
        self.collector = collector
        self.last: Collection | None = None
        self.last_error: tuple[str, float] | None = None  # what went wrong last, and when (seconds since the epoch)
        self._clock = clock
        self._monotonic = monotonic
        self._certificate_expiry = certificate_expiry
        self._errors = dict.fromkeys(Reason, 0)
        self._kept: dict[str, KeptPart] = {}
        self._run: _Run | None = None
        self._usual = target.timeout  # seconds that scrapes give a look
        self._shown: tuple[bool, tuple[str, ...]] | None = None

    async def collect(self, budget: float) -> Collection:
        """Look at the target within `budget` seconds (and within its own timeout).

        Joins a look that is under way, which then lasts as long as the most patient of those who wait for it allows;
        one whose budget ends before gets what is known by then, with the rest as time-outs.
        """
        budget = self._usual = min(budget, self.target.timeout)
        return await self._join(budget)

    async def _join(self, budget: float) -> Collection:
        run = self._run or self._begin(budget)
        assert run.done is not None  # noqa: S101 -- set by whoever started the run
        patience = self._monotonic() + budget
        run.ends = max(run.ends, min(patience, run.started + self.target.timeout))
        # Who waits to the look's own end also waits for what it has to clean up.
        await asyncio.wait({run.done}, timeout=budget if run.ends > patience else budget + 2 * CANCELLING)
        if run.done.done():
            return run.done.result()
        return self._assemble(run, final=False)

    async def collect_anew(self, budget: float) -> Collection:
        """Like `collect`, and the look begins now if that can be had within `budget`: for who watches the look."""
        deadline = self._monotonic() + budget
        while self._run is not None and self._run.done is not None and self._monotonic() < deadline:
            await asyncio.wait({self._run.done}, timeout=deadline - self._monotonic())
        return await self._join(min(max(0.0, deadline - self._monotonic()), self.target.timeout))

    async def fresh(self, max_age: float, budget: float) -> Collection | None:
        """The last collection if it is younger than `max_age` seconds, else what a new look gives within `budget`.

        The look itself has the time that scrapes give it, so a target that is only slow is not down for those who ask
        in a hurry: they get the collection before, or None when there was none.
        """
        # A clock that was set back must not keep an old look new until it has caught up.
        if self.last is None or not 0 <= self._clock() - self.last.finished <= max_age:
            run = self._run or self._begin(self._usual)
            assert run.done is not None  # noqa: S101 -- set by whoever started the run
            await asyncio.wait({run.done}, timeout=budget)
        return self.last

    async def settled(self) -> None:
        """Until no look is under way: those who wait for one still get it when its target leaves the configuration."""
        while self._run is not None and self._run.done is not None:
            await asyncio.wait({self._run.done})

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [part.task for part in self._kept.values() if part.task is not None]
        if self._run is not None and self._run.done is not None:
            tasks.extend(self._run.tasks.values())
            self._run.done.cancel()
            await asyncio.wait({self._run.done})
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.collector.close()

    def _begin(self, seconds: float) -> _Run:
        run = self._run = self._start()
        run.ends = run.started + min(max(seconds, LEAST), self.target.timeout)
        run.done = asyncio.create_task(self._finish(run))
        return run

    def _start(self) -> _Run:
        run = _Run(self._monotonic(), 0.0, {})
        for name, part in self.collector.parts().items():
            if part.keep:
                kept = run.kept[name] = self._kept.setdefault(name, KeptPart(self._monotonic))
                if kept.refresh(part):
                    assert kept.task is not None  # noqa: S101 -- refresh says it started one
                    kept.task.add_done_callback(functools.partial(self._kept_ended, kept))
                    if kept.families is None:
                        run.waited_for.add(kept.task)
            else:
                run.tasks[name] = asyncio.create_task(self._timed(run, name, part))
        run.waited_for.update(run.tasks.values())
        return run

    async def _timed(self, run: _Run, name: str, part: Part) -> list[Family]:
        try:
            return await part.ask()
        finally:
            run.seconds[name] = self._monotonic() - run.started

    def _kept_ended(self, kept: KeptPart, task: asyncio.Task[list[Family]]) -> None:
        kept.settle(task)
        if kept.error is not None:
            self._count(kept.error)

    async def _finish(self, run: _Run) -> Collection:
        try:
            waiting = run.waited_for
            while waiting and (left := run.ends - self._monotonic()) > 0:
                _, waiting = await asyncio.wait(waiting, timeout=left)
            collection = self._assemble(run, final=True)
        finally:
            self._run = None
            unfinished = [task for task in run.tasks.values() if not task.done()]
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished, timeout=CANCELLING)
            # A cancelled task keeps its frames, which lead back to the run: without this, only the garbage collector
            # would free what the run had learned.
            run.tasks.clear()
            run.waited_for.clear()
        self.last = collection
        if collection.error is not None:
            self.last_error = (collection.error, collection.finished)
        self._show(collection)
        return collection

    def _assemble(self, run: _Run, *, final: bool) -> Collection:
        outcomes: dict[str, Outcome] = {}
        fresh: list[Family] = []
        kept_families: list[Family] = []
        waited = self._monotonic() - run.started
        for name, task in run.tasks.items():
            error = self._error_of(name, task, waited)
            if error is None:
                fresh.extend(task.result())
            elif final:
                self._count(error)
            outcomes[name] = Outcome(run.seconds.get(name, waited), error)
        for name, kept in run.kept.items():
            outcomes[name] = kept.outcome(name, run.started)
            kept_families.extend(kept.families or ())
        up = self.collector.is_up(outcomes)
        # Kept answers of a system that is gone would be yesterday's news.
        families = fresh + (kept_families if up else [])
        whole, dropped = limit(families + self.collector.standing(), self.target.series_limit)
        series = sum(len(family.samples) for family in whole)
        whole += self._own(run, outcomes, up=up, dropped=dropped + self.collector.withheld, waited=waited)
        return Collection(up, whole, outcomes, self._clock(), waited, series)

    def _error_of(self, name: str, task: asyncio.Task[list[Family]], waited: float) -> CollectError | None:
        if not task.done():
            return CollectError(Reason.TIMEOUT, f"no answer within {waited:.1f} s")
        if task.cancelled():
            return CollectError(Reason.INTERNAL, "the exporter stopped asking")
        error = task.exception()
        if error is None or isinstance(error, CollectError):
            return error and error.bare()
        log.error("collector %s of %s failed unexpectedly", name, self.target.name, exc_info=error)
        return CollectError(Reason.INTERNAL, f"unexpected {type(error).__name__}; the exporter's log has the details")

    def _count(self, error: CollectError) -> None:
        if not error.counted:
            error.counted = True
            self._errors[error.reason] += 1

    def _own(
        self, run: _Run, outcomes: Mapping[str, Outcome], *, up: bool, dropped: int, waited: float
    ) -> list[Family]:
        """The families every target has, whatever its system."""
        prefix, system = self.collector.prefix, self.collector.system
        alive = gauge(f"{prefix}_up", f"1 when the {system} target answered as itself at this scrape, 0 when not.")
        alive.add(float(up))
        duration = gauge(f"{prefix}_scrape_duration_seconds", "How long this scrape's look at the target took.")
        duration.add(waited)
        success = gauge(
            f"{prefix}_collector_success", "1 when this part of the collection gave its series, 0 when it failed."
        )
        seconds = gauge(f"{prefix}_collector_duration_seconds", "How long this part of the collection took.")
        age = gauge(
            f"{prefix}_collector_age_seconds",
            "Age of the answer this part gave, for parts whose answer costs the target work and is kept a while.",
        )
        for name, outcome in outcomes.items():
            labels = Labels(collector=name)
            success.add(float(outcome.error is None), labels)
            seconds.add(outcome.seconds, labels)
            if name in run.kept:
                age.add(run.kept[name].age(), labels)
        errors = counter(f"{prefix}_collector_errors", "Failed calls to the target by reason.")
        for reason, count in self._errors.items():
            errors.add(count, Labels(reason=reason))
        lost = gauge(
            f"{prefix}_series_dropped",
            "Series left out of this scrape to stay under series_limit (raise it, or watch less); 0 when complete.",
        )
        lost.add(dropped)
        expiry = certificate_expiry(prefix, self._certificate_expiry())
        return [alive, duration, success, seconds, age, errors, lost, expiry]

    def _show(self, collection: Collection) -> None:
        """One log line a change of state, none a scrape."""
        failing = tuple(sorted(name for name, outcome in collection.outcomes.items() if outcome.error is not None))
        state = (collection.up, failing)
        if state == self._shown:
            return
        self._shown = state
        what = f"{self.collector.system} target {self.target.name}"
        if not collection.up:
            log.warning("%s is down: %s", what, collection.error)
        elif failing:
            log.warning("%s is up, but %s", what, collection.error)
        else:
            log.info("%s is up", what)


def certificate_expiry(prefix: str, end: float | None) -> Family:
    """When a target's certificate ends, in seconds since the epoch; without a series when that is not known."""
    family = gauge(
        f"{prefix}_tls_certificate_expiry_timestamp_seconds",
        "When the certificate that the target showed last ends, the first of several; absent without TLS.",
    )
    family.add(end)
    return family


def limit(families: Iterable[Family], most: int) -> tuple[list[Family], int]:
    """The families without doubled series and with at most `most` series in all, and how many were left out.

    Whole families go, the largest first: half a family would make wrong sums.
    """
    unique = [_without_doubles(family) for family in families]
    total = sum(len(family.samples) for family, _ in unique)
    doubles = sum(double for _, double in unique)
    dropped = 0
    gone: set[int] = set()
    for family, _ in sorted(unique, key=lambda pair: -len(pair[0].samples)):
        if total - dropped <= most:
            break
        gone.add(id(family))
        dropped += len(family.samples)
    return [family for family, _ in unique if id(family) not in gone], dropped + doubles


def _without_doubles(family: Family) -> tuple[Family, int]:
    """One doubled series makes Prometheus refuse the whole scrape: the first one stays."""
    doubles = len(family.samples) - len({labels.kept or labels.text() for labels, _ in family.samples})
    if not doubles:
        return family, 0
    first = {labels.text(): (labels, value) for labels, value in reversed(family.samples)}
    return Family(family.name, family.kind, family.help, list(reversed(first.values()))), doubles
