"""What goes wrong in a Dask cluster beside its processes: work that fails, sticks, or takes too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.gameday.systems.dask import WORKERS


@action
async def work(stage: Stage, cluster: str, what: str, **arguments: Any) -> AsyncIterator[None]:
    """A client has work done: a method of dask_work.Work. It is forgotten when the client ends."""
    async with stage.dask[cluster].client() as client:
        await client.do(what, **arguments)
        yield


@action
async def block_loop(stage: Stage, cluster: str, seconds: float, every: float) -> AsyncIterator[None]:
    """The scheduler computes something in its event loop, for so long, so often."""
    async with stage.dask[cluster].client() as client:
        await client.do("block_loop", seconds=seconds, every=every)
        yield
        await client.do("free_loop")


@action
async def no_workers(stage: Stage, cluster: str) -> AsyncIterator[None]:
    """Every worker and its nanny is killed."""
    for name in WORKERS:
        stage.dask[cluster].kill(name)
    yield
    await stage.dask[cluster].whole()
