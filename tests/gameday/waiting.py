"""Waiting for something to become true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def until(look: Callable[[], Any], seconds: float, pause: float = 0.1) -> Any:
    """The first true answer of `look`, which may be a coroutine function, or its last one when the time is over."""
    end = time.monotonic() + seconds
    while True:
        answer = look()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer or time.monotonic() > end:
            return answer
        await asyncio.sleep(pause)


async def surely(look: Callable[[], Any], what: str, seconds: float) -> Any:
    """The same; raises TimeoutError that names what did not come."""
    answer = await until(look, seconds)
    if not answer:
        raise TimeoutError(f"not within {seconds:.0f} s: {what}")
    return answer
