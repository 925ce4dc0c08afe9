"""Processes that die, stand still, or die whenever they come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.gameday.systems.dask import worker_pid
from tests.gameday.waiting import surely

_SEEN = 4.0  # s in which a scrape finds a new process


@action
async def kill(stage: Stage, process: str) -> AsyncIterator[None]:
    """kill -9. Services come back by themselves, systems when it is over, a Dask worker without its nanny by that."""
    system, _, part = process.partition(".")
    cluster = stage.dask.get(system)
    if cluster is not None:
        cluster.kill(part)
    elif system == "ollama" and stage.ollama is not None:
        stage.ollama.kill()
    elif system == "openwebui" and stage.openwebui is not None:
        stage.openwebui.kill()
    else:
        os.kill(stage.pid(process), signal.SIGKILL)
    yield
    if cluster is not None:
        await cluster.whole()
    elif system == "ollama" and stage.ollama is not None:
        await stage.ollama.start_again()
    elif system == "openwebui" and stage.openwebui is not None:
        await stage.openwebui.start_again()
    else:
        await _comes_back(stage, process)


@action
async def kill_worker(stage: Stage, cluster: str, worker: str) -> AsyncIterator[None]:
    """kill -9 of a worker below its nanny, which starts another."""
    os.kill(await worker_pid(stage.dask[cluster], worker), signal.SIGKILL)
    yield
    await stage.dask[cluster].whole()


@action
async def freeze(stage: Stage, process: str) -> AsyncIterator[None]:
    """SIGSTOP: it keeps its port and answers nobody; SIGCONT when it is over."""
    system, _, part = process.partition(".")
    cluster = stage.dask.get(system)
    pid = await worker_pid(cluster, part) if cluster is not None and part != "scheduler" else stage.pid(process)
    os.kill(pid, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    if cluster is not None:
        await cluster.whole()
    elif system not in ("ollama", "openwebui"):
        await _comes_back(stage, process)


@action
async def keep_killing(stage: Stage, process: str) -> AsyncIterator[None]:
    """kill -9 whenever its supervisor has started it again."""

    async def again() -> None:
        while True:
            with contextlib.suppress(LookupError, ProcessLookupError):
                os.kill(stage.pid(process), signal.SIGKILL)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(again())
    yield
    task.cancel()
    await _comes_back(stage, process)


@action
async def kill_often(stage: Stage, process: str, times: int) -> AsyncIterator[None]:
    """kill -9 so many times, always once it runs again for long enough to be seen."""
    for _ in range(times):
        os.kill(stage.pid(process), signal.SIGKILL)
        await asyncio.sleep(1)
        await _comes_back(stage, process)
        await asyncio.sleep(_SEEN)
    yield


@action
async def new_scheduler_at_last(stage: Stage, cluster: str) -> AsyncIterator[None]:
    """Breaks nothing; when it is over, the scheduler is started anew, which forgets everything."""
    yield
    stage.dask[cluster].kill("scheduler")
    await stage.dask[cluster].whole()


async def _comes_back(stage: Stage, service: str) -> None:
    await surely(lambda: stage.running(service), f"{service} to run again", 60)
