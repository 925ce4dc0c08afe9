"""Work beside the event loop: what goes there, and that who waits for it can leave."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from exporter.apart import MANY, apart, entries, fairly, here, in_turns


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (None, 0),
        ("text" * MANY, 0),
        ({"models": [1, 2, 3], "version": "1"}, 5),
        ([{"a": 1}, "b"], 3),
        ((), 0),
        ({"a": [[0] * 10_000]}, 2),  # no deeper than what collectors go through
    ],
)
def test_entries_are_those_of_an_answer_and_one_level_down(answer: object, count: int) -> None:
    assert entries(answer) == count


@pytest.mark.parametrize(("count", "thread"), [(MANY, True), (MANY - 1, False)])
async def test_only_what_is_large_goes_apart(count: int, thread: bool) -> None:
    where = await fairly(lambda _: threading.current_thread(), {"models": [{}] * count})
    assert (where is not threading.main_thread()) == thread


async def test_an_error_comes_back_as_it_was() -> None:
    def fail() -> None:
        raise ValueError("as it was")

    for do in (apart, here):
        with pytest.raises(ValueError, match="as it was"):
            await do(fail)


async def test_work_is_done_one_after_the_other_and_who_waits_may_leave() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        done.append("slow")

    waiting = asyncio.create_task(apart(slow))
    while not begun.is_set():  # noqa: ASYNC110 -- an event of threads
        await asyncio.sleep(0.001)
    left = asyncio.create_task(apart(done.append, "never begun"))
    last = asyncio.create_task(apart(done.append, "last"))
    await asyncio.sleep(0.01)
    for task in (waiting, left):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == []
    go_on.set()
    await last
    assert done == ["slow", "last"]


async def test_others_have_turns_between_many_items() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    seen: list[Any] = [item async for item in in_turns(range(2_600))]
    task.cancel()
    assert seen == list(range(2_600))
    assert turns == 5
