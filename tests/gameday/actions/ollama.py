"""What goes wrong with models."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import httpx

from tests.certificates import DAY
from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.gameday.systems.gpu_ollama import LASTS
from tests.gameday.systems.ollama import SECOND
from tests.real.ollama_server import TINY


@action
async def unload(stage: Stage) -> AsyncIterator[None]:
    """The model that must be in memory is taken out, and nobody asks for it."""
    assert stage.ollama is not None
    stage.ollama.asking = False
    await asyncio.to_thread(stage.ollama.unload)
    yield
    await asyncio.to_thread(stage.ollama.generate)
    stage.ollama.asking = True


@action
async def thrash(stage: Stage, pause: float = 1.0) -> AsyncIterator[None]:
    """Two models that do not fit together are asked in turn."""
    server = stage.ollama
    assert server is not None
    server.asking = False

    async def ask() -> None:
        while True:
            for name in (SECOND, TINY):
                with contextlib.suppress(httpx.HTTPError):
                    await asyncio.to_thread(server.generate, name)
                await asyncio.sleep(pause)

    asking = asyncio.create_task(ask())
    yield
    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.to_thread(server.generate)
    server.asking = True


@action
async def delete_model(stage: Stage) -> AsyncIterator[None]:
    """The model that must be in memory is removed from the disk."""
    server = stage.ollama
    assert server is not None
    server.asking = False
    await asyncio.to_thread(server.delete, TINY)
    yield
    await asyncio.to_thread(server.create, TINY)
    await asyncio.to_thread(server.generate)
    server.asking = True


@action
async def freeze_runner(stage: Stage) -> AsyncIterator[None]:
    """SIGSTOP for the process that computes the answers; Ollama itself goes on. Nobody else asks."""
    server = stage.ollama
    assert server is not None
    server.asking = False
    await asyncio.sleep(1)  # the last answer
    runners = server.runners()
    for runner in runners:
        os.kill(runner, signal.SIGSTOP)
    yield
    for runner in runners:
        with contextlib.suppress(ProcessLookupError):
            os.kill(runner, signal.SIGCONT)
    await asyncio.to_thread(server.generate)
    server.asking = True


@action
async def stutter(stage: Stage, still: float, moving: float) -> AsyncIterator[None]:
    """It stands still again and again, each time too short to be told."""
    pid = stage.pid("ollama.server")

    async def go() -> None:
        while True:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(still)
            finally:
                os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(moving)

    going = asyncio.create_task(go())
    yield
    going.cancel()
    await asyncio.wait({going})


@action
async def gpu_ollama(
    stage: Stage, version: str = "", on_gpu: float = 1.0, failing: list[str] | None = None
) -> AsyncIterator[None]:
    """The stand-in with a GPU says another version, holds less of its model there, or fails at some paths."""
    server = stage.gpu_ollama
    assert server is not None
    before = server.version
    server.version, server.on_gpu = version or before, on_gpu
    server.failing = frozenset(failing or ())
    yield
    server.version, server.on_gpu, server.failing = before, 1.0, frozenset()


@action
async def certificate_ends(stage: Stage, days: int) -> AsyncIterator[None]:
    """The certificate of the stand-in with a GPU ends in so many days, or has ended."""
    assert stage.gpu_ollama is not None
    stage.gpu_ollama.certify(days * DAY)
    yield
    stage.gpu_ollama.certify(LASTS)
