"""One deadline, shared looks, kept answers, liveness, errors and the series cap."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref

import pytest

from exporter.collectors.base import Part, once
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, gauge
from exporter.scrape import Watch, limit
from tests.exporter.fakes import FakeCollector, families, target, values


async def good() -> list[Family]:
    return families("good")


async def silent() -> list[Family]:
    await asyncio.Event().wait()
    return []


def failing(reason: Reason):
    async def ask() -> list[Family]:
        raise CollectError(reason, f"because {reason}")

    return ask


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_good_look_is_up_with_success_and_duration_of_each_part():
    collection = await Watch(target(), FakeCollector(a=good, b=good)).collect(5)
    got = values(collection.families)
    assert got["ollama_up"] == 1
    assert got['ollama_collector_success{collector="a"}'] == 1
    assert got['ollama_collector_duration_seconds{collector="b"}'] < 5
    assert got["ollama_series_dropped"] == 0
    assert collection.error is None


async def test_a_part_that_hangs_costs_its_own_series_and_the_deadline_only():
    started = time.monotonic()
    collection = await Watch(target(), FakeCollector(a=good, b=silent)).collect(0.3)
    assert time.monotonic() - started < 2
    got = values(collection.families)
    assert got["ollama_up"] == 1
    assert got['ollama_good{model="0"}'] == 0
    assert got['ollama_collector_success{collector="b"}'] == 0
    assert got['ollama_collector_errors{reason="timeout"}'] == 1
    assert collection.error == "b: no answer within 0.3 s"


async def test_the_targets_own_timeout_bounds_the_look_too():
    started = time.monotonic()
    collection = await Watch(target(timeout="200ms"), FakeCollector(a=silent)).collect(60)
    assert time.monotonic() - started < 5
    assert not collection.up


@pytest.mark.parametrize(("reason", "up"), [(Reason.REFUSED, 0), (Reason.UNAUTHORIZED, 1), (Reason.SERVER_ERROR, 0)])
async def test_up_is_liveness_so_a_refused_key_leaves_it_1(reason, up):
    collection = await Watch(target(), FakeCollector(a=failing(reason))).collect(5)
    got = values(collection.families)
    assert got["ollama_up"] == up
    assert got['ollama_collector_success{collector="a"}'] == 0
    assert got[f'ollama_collector_errors{{reason="{reason}"}}'] == 1


async def test_error_counters_exist_at_0_from_first_sight_and_count_each_look():
    watch = Watch(target(), FakeCollector(a=failing(Reason.DNS)))
    first = values((await watch.collect(5)).families)
    assert {first[f'ollama_collector_errors{{reason="{reason}"}}'] for reason in Reason if reason != Reason.DNS} == {0}
    second = values((await watch.collect(5)).families)
    assert second['ollama_collector_errors{reason="dns"}'] == 2


async def test_parts_that_share_a_failed_call_count_it_once():
    shared = once(failing(Reason.REFUSED))
    collection = await Watch(target(), FakeCollector(a=shared, b=shared, c=Part(shared, keep=60))).collect(5)
    got = values(collection.families)
    assert got['ollama_collector_errors{reason="connection_refused"}'] == 1
    assert got['ollama_collector_success{collector="b"}'] == 0


async def test_own_counters_are_given_while_the_target_is_down():
    collection = await Watch(target(), FakeCollector(a=failing(Reason.REFUSED))).collect(5)
    assert values(collection.families)["ollama_loads"] == 0


async def test_an_unexpected_error_is_counted_and_logged_and_leaves_the_other_parts(caplog):
    async def broken() -> list[Family]:
        raise KeyError("models")

    collection = await Watch(target(), FakeCollector(a=broken, b=good)).collect(5)
    got = values(collection.families)
    assert got['ollama_collector_errors{reason="internal"}'] == 1
    assert got["ollama_up"] == 1
    assert "KeyError" in caplog.text


async def test_an_error_that_is_remembered_holds_nothing_of_the_answer_it_is_about():
    async def refused() -> list[Family]:
        answer = "32 MiB"
        try:
            int(answer)
        except ValueError as error:
            raise CollectError(Reason.NOT_JSON, "broken JSON") from error

    collection = await Watch(target(), FakeCollector(a=refused, b=Part(refused, keep=60))).collect(5)
    for outcome in collection.outcomes.values():
        assert (outcome.error.__traceback__, outcome.error.__context__, outcome.error.__cause__) == (None, None, None)


async def test_what_a_cancelled_part_had_learned_is_freed_without_the_garbage_collector():
    class Answer:
        pass

    seen: list[weakref.ref[Answer]] = []

    async def slow() -> list[Family]:
        answer = Answer()
        seen.append(weakref.ref(answer))
        await asyncio.Event().wait()
        return families(str(answer))

    gc.disable()
    try:
        await Watch(target(timeout="200ms"), FakeCollector(a=slow, b=once(slow), c=good)).collect(5)
        assert [found() for found in seen] == [None, None]
    finally:
        gc.enable()


async def test_looks_at_the_same_time_share_one_collection():
    asked = 0
    gate = asyncio.Event()

    async def slow() -> list[Family]:
        nonlocal asked
        asked += 1
        await gate.wait()
        return families("slow")

    watch = Watch(target(), FakeCollector(a=slow))
    looks = [asyncio.create_task(watch.collect(5)) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert len({id(collection) for collection in await asyncio.gather(*looks)}) == 1
    assert asked == 1
    await watch.collect(5)
    assert asked == 2


async def test_a_caller_with_less_time_gets_what_is_known_and_does_not_end_the_shared_look():
    gate = asyncio.Event()

    async def slow() -> list[Family]:
        await gate.wait()
        return families("slow")

    watch = Watch(target(), FakeCollector(a=slow, b=good))
    patient = asyncio.create_task(watch.collect(5))
    await asyncio.sleep(0)
    hurried = values((await watch.collect(0.1)).families)
    assert hurried['ollama_collector_success{collector="a"}'] == 0
    assert hurried['ollama_good{model="0"}'] == 0
    gate.set()
    final = values((await patient).families)
    assert final['ollama_collector_success{collector="a"}'] == 1
    assert final['ollama_collector_errors{reason="timeout"}'] == 0


async def test_one_in_a_hurry_who_comes_first_does_not_end_the_look_of_those_who_have_time():
    gate = asyncio.Event()

    async def slow() -> list[Family]:
        await gate.wait()
        return families("slow")

    watch = Watch(target(), FakeCollector(a=slow))
    hurried = asyncio.create_task(watch.collect(0.3))
    await asyncio.sleep(0)
    patient = asyncio.create_task(watch.collect(4))
    assert not (await hurried).up
    await asyncio.sleep(0.3)
    gate.set()
    final = values((await patient).families)
    assert final["ollama_up"] == 1
    assert final['ollama_collector_errors{reason="timeout"}'] == 0


async def test_those_who_join_again_and_again_do_not_hold_a_look_open_beyond_the_targets_timeout():
    watch = Watch(target(timeout="500ms"), FakeCollector(a=silent))
    looks = [asyncio.create_task(watch.collect(4))]
    started = time.monotonic()
    while not looks[0].done():
        looks.append(asyncio.create_task(watch.collect(4)))
        await asyncio.sleep(0.02)
    assert time.monotonic() - started < 1
    await asyncio.gather(*looks)


async def test_a_caller_without_time_neither_waits_nor_makes_a_target_look_down(caplog):
    async def soon() -> list[Family]:
        await asyncio.sleep(0.05)
        return families("soon")

    watch = Watch(target(), FakeCollector(a=soon))
    for _ in range(10):
        started = time.monotonic()
        await watch.collect(0.0001)
        assert time.monotonic() - started < 0.04
    assert (await watch.collect(4)).up
    assert "is down" not in caplog.text


async def test_who_asks_in_a_hurry_what_is_known_does_not_make_a_slow_target_look_down(caplog):
    caplog.set_level(logging.INFO)
    answer = asyncio.Event()

    async def slow() -> list[Family]:
        await answer.wait()
        return families("good")

    watch = Watch(target(), FakeCollector(version=slow))
    assert await watch.fresh(max_age=0, budget=0.3) is None  # a page: nothing is known yet, and nothing is claimed
    answer.set()
    assert (await watch.collect(4)).up
    answer.clear()
    seen = await watch.fresh(max_age=-1, budget=0.3)
    assert seen is not None
    assert seen.up
    answer.set()
    await watch.settled()
    assert values((await watch.collect(4)).families)['ollama_collector_errors{reason="timeout"}'] == 0
    assert [record.message for record in caplog.records] == ["ollama target gpu is up"]


async def test_a_look_for_a_page_lasts_as_long_as_one_for_prometheus():
    watch = Watch(target(timeout="1m"), FakeCollector(version=silent))
    await watch.collect(0.3)
    started = time.monotonic()
    assert await watch.fresh(max_age=-1, budget=30) is watch.last
    assert time.monotonic() - started < 10


async def test_a_cancelled_caller_does_not_cancel_the_look_of_the_others():
    gate = asyncio.Event()

    async def slow() -> list[Family]:
        await gate.wait()
        return families("slow")

    watch = Watch(target(), FakeCollector(a=slow))
    first, second = asyncio.create_task(watch.collect(5)), asyncio.create_task(watch.collect(5))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).up


async def test_a_kept_answer_is_used_until_it_is_old_and_says_its_age():
    now, asked = Time(), 0

    async def costly() -> list[Family]:
        nonlocal asked
        asked += 1
        return families("costly", asked)

    watch = Watch(target(), FakeCollector(a=good, c=Part(costly, keep=60)), now, now)
    await watch.collect(5)
    now.now += 59
    got = values((await watch.collect(5)).families)
    assert asked == 1
    assert got['ollama_collector_age_seconds{collector="c"}'] == 59
    now.now += 2
    await watch.collect(5)
    await asyncio.sleep(0)
    assert asked == 2
    assert 'ollama_costly{model="1"}' in values((await watch.collect(5)).families)


async def test_a_kept_part_that_is_slower_than_a_scrape_still_arrives_and_delays_only_the_first():
    gate = asyncio.Event()

    async def costly() -> list[Family]:
        await gate.wait()
        return families("costly")

    watch = Watch(target(), FakeCollector(a=good, c=Part(costly, keep=60)))
    first = await watch.collect(0.3)
    assert first.outcomes["c"].error is not None
    started = time.monotonic()
    await watch.collect(5)
    assert time.monotonic() - started < 2
    gate.set()
    await asyncio.sleep(0.01)
    assert 'ollama_costly{model="0"}' in values((await watch.collect(5)).families)


async def test_kept_answers_of_a_target_that_went_down_are_gone():
    alive = True

    async def live() -> list[Family]:
        if not alive:
            raise CollectError(Reason.REFUSED, "gone")
        return families("live")

    async def costly() -> list[Family]:
        return families("costly")

    watch = Watch(target(), FakeCollector(a=live, c=Part(costly, keep=60)))
    assert 'ollama_costly{model="0"}' in values((await watch.collect(5)).families)
    alive = False
    got = values((await watch.collect(5)).families)
    assert got["ollama_up"] == 0
    assert 'ollama_costly{model="0"}' not in got


async def test_a_failed_kept_part_is_not_asked_at_every_scrape_and_counted_once():
    now, asked = Time(), 0

    async def refused() -> list[Family]:
        nonlocal asked
        asked += 1
        raise CollectError(Reason.FORBIDDEN, "no")

    watch = Watch(target(), FakeCollector(a=good, c=Part(refused, keep=60)), now, now)
    for _ in range(3):
        got = values((await watch.collect(5)).families)
    assert asked == 1
    assert got['ollama_collector_errors{reason="forbidden"}'] == 1
    assert got['ollama_collector_success{collector="c"}'] == 0
    now.now += 16
    await watch.collect(5)
    assert asked == 2


def test_the_cap_drops_whole_families_the_largest_first():
    big, small = families("big", 100), families("small", 10)
    left, dropped = limit(big + small, 50)
    assert [family.name for family in left] == ["ollama_small"]
    assert dropped == 100


def test_a_doubled_series_is_dropped_and_counted_because_prometheus_would_refuse_everything():
    family = gauge("m", "help")
    family.add(1, Labels(model="a"))
    family.add(2, Labels(model="a"))
    family.add(3, Labels(model="b"))
    [left], dropped = limit([family], 50)
    assert [(labels.pairs, value) for labels, value in left.samples] == [((("model", "a"),), 1), ((("model", "b"),), 3)]
    assert dropped == 1


async def test_the_cap_is_shown():
    async def many() -> list[Family]:
        return families("many", 100)

    collection = await Watch(target(series_limit=50), FakeCollector(a=many)).collect(5)
    assert values(collection.families)["ollama_series_dropped"] == 100
    assert collection.series == 1


async def test_state_changes_are_logged_once_not_at_every_scrape(caplog):
    caplog.set_level(logging.INFO)
    alive = True

    async def live() -> list[Family]:
        if not alive:
            raise CollectError(Reason.REFUSED, "nothing listens there")
        return families("live")

    watch = Watch(target(), FakeCollector(a=live))
    for state in (True, True, False, False, True):
        alive = state
        await watch.collect(5)
    assert [record.message for record in caplog.records] == [
        "ollama target gpu is up",
        "ollama target gpu is down: a: nothing listens there",
        "ollama target gpu is up",
    ]


async def test_closing_stops_what_is_under_way():
    watch = Watch(target(), FakeCollector(a=silent, c=Part(silent, keep=60)))
    look = asyncio.create_task(watch.collect(60))
    await asyncio.sleep(0.01)
    await watch.close()
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_once_asks_once_and_gives_everybody_the_same_answer_or_error():
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise CollectError(Reason.DNS, "x")

    shared = once(ask)
    answers = await asyncio.gather(shared(), shared(), return_exceptions=True)
    assert asked == 1
    assert [type(answer) for answer in answers] == [CollectError, CollectError]


async def test_a_shared_call_nobody_waits_for_any_more_is_cancelled():
    gone = asyncio.Event()

    async def ask() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return 1

    shared = once(ask)
    first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0.01)
    assert not gone.is_set()
    second.cancel()
    await asyncio.wait_for(gone.wait(), 5)


async def test_a_question_that_took_long_to_fail_is_not_asked_again_soon():
    now, asked = Time(), 0

    async def slow_refusal() -> list[Family]:
        nonlocal asked
        asked += 1
        now.now += 50
        raise CollectError(Reason.TIMEOUT, "no")

    watch = Watch(target(), FakeCollector(a=good, c=Part(slow_refusal, keep=60)), now, now)
    await watch.collect(5)
    now.now += 49
    await watch.collect(5)
    assert asked == 1
    now.now += 2
    await watch.collect(5)
    assert asked == 2


async def test_a_clock_that_is_set_back_keeps_no_old_look_new():
    """Discovery would give yesterday's workers until the clock has caught up."""
    now = [1_000_000.0]
    asked: list[float] = []

    async def noted() -> list[Family]:
        asked.append(now[0])
        return families("good")

    watch = Watch(target(), FakeCollector(version=noted), clock=lambda: now[0])
    await watch.fresh(max_age=5, budget=5)
    now[0] += 4
    await watch.fresh(max_age=5, budget=5)
    assert len(asked) == 1
    now[0] -= 3600
    await watch.fresh(max_age=5, budget=5)
    assert len(asked) == 2
