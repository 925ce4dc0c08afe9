"""What goes wrong in a Dask cluster beside its processes: work that fails, sticks, or takes too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.gameday.systems.dask import WORKERS


@action
async def work(stage: Stage, what: str, **arguments: Any) -> AsyncIterator[None]:
    """A client has work done: a method of dask_work.Work. It is forgotten when the client ends."""
    assert stage.dask is not None
    async with stage.dask.client() as client:
        await client.do(what, **arguments)
        yield


@action
async def block_loop(stage: Stage, seconds: float, every: float) -> AsyncIterator[None]:
    """The scheduler computes something in its event loop, for so long, so often."""
    assert stage.dask is not None
    async with stage.dask.client() as client:
        await client.do("block_loop", seconds=seconds, every=every)
        yield
        await client.do("free_loop")


@action
async def no_workers(stage: Stage) -> AsyncIterator[None]:
    """Every worker and its nanny is killed."""
    assert stage.dask is not None
    for name in WORKERS:
        stage.dask.kill(name)
    yield
    for name in WORKERS:
        stage.dask.start_again(name)
