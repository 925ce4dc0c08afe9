"""`make gameday`: real systems, the whole stack at another pace, and everything that may break, one fault at a time.

ARGS names scenarios, or systems; without any, all are played, then a healthy hour. GAMEDAY_FACTOR is by what the
intervals of production are divided.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from tests.gameday import report, scenario
from tests.gameday.healthy import healthy_hour
from tests.gameday.play import Play, Result
from tests.gameday.scenario import Channels, Scenario
from tests.gameday.stage import Stage
from tests.gameday.waiting import surely
from tests.gameday.watching import Watch

FACTOR = float(os.environ.get("GAMEDAY_FACTOR", "10"))
SYSTEMS = frozenset({"dask", "ollama", "openwebui", "host"})
HEALTHY = "healthy-hour"
SETTLE = 10.0  # s in which ranges fill


def chosen(all_of_them: list[Scenario], names: Iterable[str]) -> list[Scenario]:
    """Those that are named, or whose system is. Raises SystemExit for a name that nothing has."""
    wanted = list(names)
    known = {one.name for one in all_of_them} | {one.system for one in all_of_them} | {HEALTHY}
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"no scenario or system is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return [one for one in all_of_them if not wanted or {one.name, one.system} & set(wanted)]


def systems_for(scenarios: Iterable[Scenario]) -> frozenset[str]:
    """What must be started for these."""
    needs = {need for one in scenarios for need in (one.system, *one.all_needs)}
    named = {"machine": "host", "disk": "host"}
    found = {named.get(need, need) for need in needs} & SYSTEMS
    return frozenset(found | ({"ollama"} if "openwebui" in found else set()))


async def game_day(folder: Path, names: list[str]) -> bool:
    """The whole day; whether all was good."""
    listed = scenario.load()
    scenarios = chosen(listed.scenarios, names)
    healthy = not names or HEALTHY in names
    systems = SYSTEMS if healthy else systems_for(scenarios)
    say(f"Intervals of production divided by {FACTOR:g}; everything is kept in {folder}")
    begun = time.monotonic()
    words = ""
    async with Stage(folder, FACTOR, say, systems) as stage, Watch(stage) as watch:
        await surely(watch.settled, "every target to be up", 90)
        await asyncio.sleep(SETTLE)
        results = await play_all(stage, watch, scenarios, listed.audiences)
        if healthy:
            words = await healthy_hour(stage, watch)
            say(f"{HEALTHY}: {words or 'nobody was told of anything'}")
    minutes = (time.monotonic() - begun) / 60
    say(f"\n{report.table(results)}\n{_sum(results)} in {minutes:.0f} minutes")
    return not words and all(one.good for one in results)


async def play_all(
    stage: Stage, watch: Watch, scenarios: list[Scenario], audiences: Mapping[str, Mapping[str, Channels]]
) -> list[Result]:
    """One after the other; an alert that lingers is waited for when its target's turn comes again, or at the end."""
    lingering: dict[str, Play] = {}
    results: list[Result] = []
    for number, one in enumerate(scenarios, 1):
        if one.subject in lingering:
            await _finish(lingering.pop(one.subject))
        play = Play(stage, watch, one, audiences[one.told], tuple(lingering))
        results.append(play.result)
        say(f"{number:>3}/{len(scenarios)} {one.name}")
        await play.run()
        if one.lingers and play.result.fired_after is not None:
            lingering[one.subject] = play
        else:
            await _finish(play)
    for play in lingering.values():
        await _finish(play)
    return results


async def _finish(play: Play) -> None:
    await play.finish()
    say(f"        {report.line(play.result)}")


def say(text: str) -> None:
    """At once, also into a file."""
    click.echo(text)


def _sum(results: list[Result]) -> str:
    played = [one for one in results if not one.skipped]
    return f"{sum(one.good for one in played)} of {len(played)} good, {len(results) - len(played)} left out"


async def until_told(folder: Path, names: list[str]) -> bool:
    """The day, ended in order also by SIGTERM: nothing that it started may stay."""
    task = asyncio.ensure_future(game_day(folder, names))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> None:
    """Exit code 0 when all is good. The folder with every log goes with a good day and stays after a bad one."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-ai-gameday-"))
    good = asyncio.run(until_told(folder, sys.argv[1:]))
    if good:
        shutil.rmtree(folder)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
