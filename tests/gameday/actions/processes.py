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

_OURS = ("dask", "ollama", "openwebui")


@action
async def kill(stage: Stage, process: str, *, nanny: bool = False) -> AsyncIterator[None]:
    """kill -9. Services come back by themselves, systems when it is over; a Dask worker with a `nanny` by that."""
    system, _, part = process.partition(".")
    if system == "dask" and stage.dask is not None:
        if nanny:
            os.kill(await worker_pid(stage.dask, part), signal.SIGKILL)
        else:
            stage.dask.kill(part)
    elif system == "ollama" and stage.ollama is not None:
        stage.ollama.kill()
    elif system == "openwebui" and stage.openwebui is not None:
        stage.openwebui.kill()
    else:
        os.kill(stage.pid(process), signal.SIGKILL)
    yield
    if system == "dask" and stage.dask is not None and not nanny:
        stage.dask.start_again(part)
    elif system == "ollama" and stage.ollama is not None:
        await stage.ollama.start_again()
    elif system == "openwebui" and stage.openwebui is not None:
        await stage.openwebui.start_again()
    elif system not in _OURS:
        await _comes_back(stage, process)


@action
async def freeze(stage: Stage, process: str) -> AsyncIterator[None]:
    """SIGSTOP: it keeps its port and answers nobody; SIGCONT when it is over."""
    pid = stage.pid(process)
    os.kill(pid, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    if process.partition(".")[0] not in _OURS:
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
async def restart(stage: Stage, process: str) -> AsyncIterator[None]:
    """kill -9 of a part of the Dask cluster, and at once a new one."""
    assert stage.dask is not None
    part = process.partition(".")[2]
    stage.dask.kill(part)
    stage.dask.start_again(part)
    yield


async def _comes_back(stage: Stage, service: str) -> None:
    await surely(lambda: stage.running(service), f"{service} to run again", 60)
