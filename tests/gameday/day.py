"""A whole day: which scenarios, in which order, and what came of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.gameday import report
from tests.gameday.healthy import healthy_hour
from tests.gameday.play import Play, Result
from tests.gameday.scenario import Channels, Scenario, load
from tests.gameday.stage import Stage
from tests.gameday.waiting import surely
from tests.gameday.watching import Watch

FACTOR = float(os.environ.get("GAMEDAY_FACTOR", "10"))
SYSTEMS = frozenset({"dask", "ollama", "openwebui", "host"})
HEALTHY = "healthy-hour"
SETTLE = 10.0  # s in which ranges fill
_STARTED_AS = {"machine": "host", "disk": "host", "gpu_ollama": "ollama"}
Say = Callable[[str], None]


@dataclass
class Day:
    """What came of it."""

    results: list[Result] = field(default_factory=list)
    healthy: str | None = None
    """What was wrong with the hour in which nothing was broken; None when there was none."""

    @property
    def good(self) -> bool:
        return not self.healthy and all(one.good for one in self.results)


def chosen(scenarios: list[Scenario], names: Iterable[str]) -> list[Scenario]:
    """Those that are named, or whose system is. Raises SystemExit for a name that nothing has."""
    wanted = list(names)
    known = {one.name for one in scenarios} | {one.system for one in scenarios} | {HEALTHY}
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"no scenario or system is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return [one for one in scenarios if not wanted or {one.name, one.system} & set(wanted)]


def systems_for(scenarios: Iterable[Scenario]) -> frozenset[str]:
    """What must be started for these."""
    needs = {need for one in scenarios for need in (one.system, *one.all_needs)}
    found = {_STARTED_AS.get(need, need) for need in needs} & SYSTEMS
    return frozenset(found | ({"ollama"} if "openwebui" in found else set()))


async def play(folder: Path, names: list[str], say: Say) -> Day:
    """The scenarios that are named, all and a healthy hour without any; logs stay in `folder`."""
    listed = load()
    scenarios = chosen(listed.scenarios, names)
    healthy = not names or HEALTHY in names
    day = Day()
    systems = SYSTEMS if healthy else systems_for(scenarios)
    async with Stage(folder, FACTOR, say, systems) as stage, Watch(stage) as watch:
        await surely(watch.settled, "every target to be up", 90)
        await asyncio.sleep(SETTLE)
        day.results = await _play_all(stage, watch, scenarios, listed.audiences, say)
        if healthy:
            day.healthy = await healthy_hour(stage, watch)
            say(f"{HEALTHY}: {day.healthy or 'nobody was told of anything'}")
    return day


async def _play_all(
    stage: Stage, watch: Watch, scenarios: list[Scenario], audiences: Mapping[str, Mapping[str, Channels]], say: Say
) -> list[Result]:
    """One after the other; an alert that lingers is waited for when its target's turn comes again, or at the end."""
    lingering: dict[str, Play] = {}
    results: list[Result] = []

    async def finish(one: Play) -> None:
        await one.finish()
        say(f"        {report.line(one.result)}")

    for number, one in enumerate(scenarios, 1):
        if one.subject in lingering:
            await finish(lingering.pop(one.subject))
        now = Play(stage, watch, one, audiences[one.told], tuple(lingering))
        results.append(now.result)
        say(f"{number:>3}/{len(scenarios)} {one.name}")
        await now.run()
        if one.lingers and now.result.fired_after is not None:
            lingering[one.subject] = now
        else:
            await finish(now)
    for late in lingering.values():
        await finish(late)
    return results
