"""An hour of production in which nothing is broken, and in which nobody may hear anything."""

from __future__ import annotations

import asyncio
import itertools
import time

from tests.gameday.play import BEAT, BEATS, QUIET
from tests.gameday.stage import Stage
from tests.gameday.waiting import until
from tests.gameday.watching import Watch

HOUR = 3600.0


async def healthy_hour(stage: Stage, watch: Watch) -> str:
    """What was wrong with it, in words; empty when all was quiet and the heartbeat never paused."""

    async def quiet() -> bool:
        return not await watch.left()

    await until(quiet, QUIET, 0.5)
    begun = time.time()
    await asyncio.sleep(HOUR / stage.factor)
    messages = stage.ledger.since(begun)
    told = [f"{one.to}: {one.subject or one.text}" for one in messages if one.channel != "heartbeat"]
    fired = sorted({one.title for one in watch.since(begun)})
    words = [f"told {'; '.join(told)}"] if told else []
    words += [f"fired {', '.join(fired)}"] if fired else []
    every = BEAT / stage.factor
    beats = [begun, *(one.at for one in messages if one.channel == "heartbeat"), time.time()]
    longest = max(later - earlier for earlier, later in itertools.pairwise(beats))
    if longest > BEATS * every:
        words.append(f"the heartbeat paused for {longest:.0f} s, meant is one every {every:g}")
    return "; ".join(words)
