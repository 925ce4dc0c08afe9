"""Work on large answers, done beside the event loop so that nobody else waits for it.

Python runs one thread at a time, so a thread makes nothing faster; it lets the event loop have its turn every
millisecond (`sys.setswitchinterval`). A process for it would need a second copy of the answer and of the exporter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

MANY = 2_000  # entries of an answer that are worked on at once: about twenty milliseconds
_TURN = 500  # entries that are made series of before others have their turn: about five milliseconds
# One, so that at most one answer is unfolded in memory, the event loop competes with one thread only, and one set of
# memory is kept by malloc for it: each thread that ever worked on much holds two MiB.
_THREAD = ThreadPoolExecutor(1, "apart")

# What people and Prometheus are answered is written and compressed here, not in asyncio's own threads: those look up
# host names, and when the DNS is silent all of them wait for it.
_WRITERS = ThreadPoolExecutor(2, "writing")


async def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives, done in the thread.

    It has to be a function of its arguments alone: at its deadline whoever asked goes away, and the work does not.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: work(*args, **kwargs))


async def written(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work`, which makes an answer of what is known, gives; done in one of two threads."""
    return await asyncio.get_running_loop().run_in_executor(_WRITERS, lambda: work(*args, **kwargs))


async def here(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives, done by the event loop, after those who wait for their turn."""
    await asyncio.sleep(0)
    return work(*args, **kwargs)


async def fairly(work: Callable[[Any], T], answer: Any) -> T:
    """What `work` makes of a decoded answer: here, or apart when the answer is large."""
    return await apart(work, answer) if entries(answer) > MANY else work(answer)


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items; whoever else has something to do does it between some of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % _TURN == 0:
            await asyncio.sleep(0)


def entries(answer: Any) -> int:
    """How many entries a decoded answer has, with those one level down."""
    count = length(answer)
    if count > MANY:
        return count
    inner = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list | tuple) else ()
    return count + sum(map(length, inner))


def length(value: Any) -> int:
    """Entries of a list or map; 0 of anything else."""
    return len(value) if isinstance(value, dict | list | tuple) else 0
