"""The generation probe: one token now and then from each loaded model, to find the hang behind an open port.

It runs beside the scrapes, so that a hung generation delays none, and starts only from a scrape, so that it ends with
them. What it costs a model: a runner with one slot forgets the prompt it had cached, and Ollama replaces a runner whose
process no longer answers, as it would for anybody's request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

from exporter.collectors.base import Clock, Http
from exporter.collectors.ollama_answers import Loaded, Shown
from exporter.collectors.ollama_generation import Generation, Result, has_room, pause
from exporter.collectors.ollama_lease import Lease
from exporter.collectors.ollama_shown import ShownModels
from exporter.errors import CollectError
from exporter.families import Family, Labels, counter, gauge
from provisioning.config.targets import GenerationProbe

RESULTS: tuple[Result, ...] = get_args(Result)
_AT_ONCE = 4
_REST = 600.0  # s without a probe after one that made Ollama load the model: other options may be in use
_SETTLE_EVERY = 30.0  # s between two tries to give back a keep-alive


@dataclass(slots=True)
class _State:
    """What is known of one loaded model."""

    digest: str
    seen: float | None  # last look at its expiry, before it was loaded at first
    lease: Lease = field(default_factory=Lease)
    task: asyncio.Task[None] | None = None
    next_probe: float = 0.0
    next_settle: float = 0.0
    incapable: bool = False
    result: Result | None = None
    seconds: float | None = None  # of the last probe that gave a token
    ended: float | None = None
    succeeded: float | None = None


class Probes:
    """The probes of one server."""

    def __init__(
        self,
        http: Http,
        settings: GenerationProbe,
        clock: Clock,
        shown: ShownModels,
        pause: Callable[[float], Awaitable[None]] = pause,
    ) -> None:
        self._http = http
        self._settings = settings
        self._clock = clock
        self._shown = shown
        self._pause = pause
        self._states: dict[str, _State] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._looked: float | None = None
        self._counts: dict[Result, int] = dict.fromkeys(RESULTS, 0)

    def look(self, models: Mapping[str, Loaded]) -> None:
        """Take what a scrape saw in memory, and start in the background what is due."""
        now = self._clock()
        before, self._looked = self._looked, now
        known, self._states = self._states, {}
        for name, model in models.items():
            state = known.get(name)
            if state is None or state.digest != model.digest:
                state = _State(model.digest, before)
            self._states[name] = state
            if state.task is None:
                self._consider(name, state, model)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()
        await self.idle()

    def families(self, labels: Callable[[str], Labels]) -> list[Family]:
        """The last probe of each loaded model."""
        result = gauge(
            "ollama_generation_probe_result",
            "1 at how the last one-token probe of the loaded model went. ok. busy: no token in time, but others were "
            "using it. hung: no token in time with nobody else there; restart Ollama. reloaded: a token only after "
            "Ollama loaded the model or waited for another load; its runner had stopped answering, or clients use "
            "other options. failed: an error; see Ollama's log. Left out before the first probe; a model that cannot "
            "generate, or has less than the probe's timeout and 5 s left, is not probed.",
        )
        seconds = gauge(
            "ollama_generation_probe_duration_seconds",
            "How long the last probe that gave a token took, queue included.",
        )
        ended = gauge("ollama_generation_probe_timestamp_seconds", "When the last probe of the model ended.")
        succeeded = gauge(
            "ollama_generation_probe_last_success_timestamp_seconds", "When a probe of the model last gave a token."
        )
        for name, state in self._states.items():
            if state.result is None:
                continue
            for possible in RESULTS:
                result.add(state.result == possible, Labels(model=name, result=possible))
            seconds.add(state.seconds, labels(name))
            ended.add(state.ended, labels(name))
            succeeded.add(state.succeeded, labels(name))
        return [result, seconds, ended, succeeded]

    def counters(self) -> list[Family]:
        """All probes by result."""
        total = counter("ollama_generation_probes", "One-token probes of all models by result.")
        for result, count in self._counts.items():
            total.add(count, Labels(result=result))
        return [total]

    def _consider(self, name: str, state: _State, model: Loaded) -> None:
        now = self._clock()
        state.lease.saw(now, model.expires, state.seen)
        state.seen = now
        shown = self._shown.of(model.digest or name)
        if shown is None:
            return
        if now >= state.next_settle and state.lease.owes(now) is not None:
            self._start(state, partial(self._settle, name, state, shown))
        elif (
            now >= state.next_probe
            and not state.incapable
            and (shown.capabilities is None or "completion" in shown.capabilities)
            and has_room(state.lease, now, self._settings.timeout)
        ):
            self._start(state, partial(self._probe, name, state, shown, model.expires))

    def _start(self, state: _State, work: Callable[[], Awaitable[None]]) -> None:
        async def in_turn() -> None:
            try:
                async with self._turn:
                    await work()
            finally:
                state.task = None

        state.task = asyncio.create_task(in_turn())
        self._tasks.add(state.task)
        state.task.add_done_callback(self._tasks.discard)

    async def _probe(self, name: str, state: _State, shown: Shown, expires: float | None) -> None:
        generation = self._generation(name, state, shown)
        try:
            result = await generation.probe(expires)
        except CollectError:
            return  # /api/ps does not answer, which the scrapes report themselves
        finally:
            state.seen, state.incapable = generation.seen, generation.incapable
            state.next_probe = self._clock() + (0.0 if generation.unsettled else self._settings.every)
        if result is not None:
            self._note(state, result, generation.seconds)
        await self._settle(name, state, shown)

    def _note(self, state: _State, result: Result, seconds: float | None) -> None:
        state.result, state.ended = result, self._clock()
        self._counts[result] += 1
        if result in ("ok", "reloaded"):
            state.succeeded, state.seconds = state.ended, seconds
        if result == "reloaded":
            state.next_probe = max(state.next_probe, state.ended + _REST)

    async def _settle(self, name: str, state: _State, shown: Shown) -> None:
        if state.lease.owes(self._clock()) is None:
            return
        state.next_settle = self._clock() + _SETTLE_EVERY
        generation = self._generation(name, state, shown)
        try:
            await generation.settle()
        except CollectError:
            return  # tried again after a pause
        finally:
            state.seen = generation.seen

    def _generation(self, name: str, state: _State, shown: Shown) -> Generation:
        return Generation(
            self._http, self._clock, self._pause, self._settings.timeout, name, shown, state.lease, state.seen
        )
