"""Counting from event windows: once each, never the past, and honest about what was missed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.dask import LARGE_WINDOW, DaskCollector
from exporter.collectors.dask_events import MOST_EVENTS, parse_version, topics, was_retired
from exporter.collectors.dask_windows import Event, Window
from exporter.errors import CollectError, Reason
from tests.exporter.dask.recorded import FakeScheduler, collector
from tests.exporter.fakes import values

ADDRESS = "tcp://10.0.0.9:1"


def added(at: float) -> Event:
    return (at, {"action": "add-worker", "worker": ADDRESS})


def removed(at: float, processing: tuple[str, ...] = (), **more: Any) -> Event:
    return (at, {"action": "remove-worker", "worker": ADDRESS, "processing-tasks": processing, **more})


def status(at: float, to: str) -> Event:
    return (at, {"action": "worker-status-change", "prev-status": "running", "status": to})


def scheduler(version: str = "2026.8.0", started: float = 0.5, **topic_events: Any) -> FakeScheduler:
    fake = FakeScheduler.of(version)
    identity = {**fake.answers["identity"], "id": "first", "started": started}
    fake.answers = {"identity": identity, "processing": {}, "versions": fake.answers["versions"]}
    fake.answers.update({f"events-{topic}": events for topic, events in topic_events.items()})
    return fake


def restart(fake: FakeScheduler, started: float) -> None:
    fake.answers["identity"] = {**fake.answers["identity"], "id": f"since {started}", "started": started}


async def counted(dask: DaskCollector) -> dict[str, float]:
    await dask.parts()["events"].ask()
    return counters(dask)


def counters(dask: DaskCollector) -> dict[str, float]:
    return {line.removeprefix("dask_cluster_"): value for line, value in values(dask.standing()).items()}


async def test_counters_are_there_before_the_first_answer() -> None:
    fake = scheduler()
    fake.down()
    found = counters(collector(fake))
    assert found["worker_additions"] == 0
    assert found['worker_removals{expected="false"}'] == 0
    assert found['event_window_overflows{topic="all"}'] == 0
    assert "worker_memory_restarts" not in found  # nobody knows yet whether this Dask tells


async def test_history_is_never_replayed() -> None:
    dask = collector(scheduler(all=(added(1), removed(2, expected=False), added(3))))
    found = await counted(dask)
    assert found["worker_additions"] == 0
    assert found['worker_removals{expected="false"}'] == 0
    assert await counted(dask) == found


async def test_each_event_counts_once() -> None:
    fake = scheduler(all=(added(1),))
    dask = collector(fake)
    await counted(dask)
    lost = removed(2, ("a", "b"), expected=False, **{"lost-computed-tasks": ("c",), "lost-scattered-tasks": ("d", "e")})
    fake.answers["events-all"] += (added(2), lost, (2, {"action": "gather"}), removed(3, ("f",), expected=True))
    for _ in range(3):
        found = await counted(dask)
        assert found["worker_additions"] == 1
        assert found['worker_removals{expected="false"}'] == 1
        assert found['worker_removals{expected="true"}'] == 1
        assert found['worker_removal_processing_tasks{expected="false"}'] == 2
        assert found['worker_removal_processing_tasks{expected="true"}'] == 1
        assert found['worker_removal_lost_results{kind="computed"}'] == 1
        assert found['worker_removal_lost_results{kind="scattered"}'] == 2


async def test_equal_times_are_told_apart_by_their_place() -> None:
    fake = scheduler(all=(added(1), added(1)))
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-all"] += (added(1), added(1))
    assert (await counted(dask))["worker_additions"] == 2
    fake.answers["events-all"] = (added(1), added(1), added(1), added(0.5))  # evicted one; the clock stepped back
    assert (await counted(dask))["worker_additions"] == 3
    assert counters(dask)['event_window_overflows{topic="all"}'] == 0


async def test_overflow_is_counted_and_what_is_left_is_too() -> None:
    fake = scheduler(all=(added(1), added(2)))
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-all"] = (added(8), added(9))
    found = await counted(dask)
    assert found['event_window_overflows{topic="all"}'] == 1
    assert found["worker_additions"] == 2
    found = await counted(dask)
    assert found['event_window_overflows{topic="all"}'] == 1
    assert found["worker_additions"] == 2


async def test_full_window_after_an_empty_one_may_have_overflowed() -> None:
    fake = scheduler(**{"worker-restart-memory": ()})
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-worker-restart-memory"] = tuple((float(i), {"worker": ADDRESS}) for i in range(1000))
    found = await counted(dask)
    assert found["worker_memory_restarts"] == 1000
    assert found['event_window_overflows{topic="worker-restart-memory"}'] == 1


async def test_memory_restarts_and_heartbeat_timeouts() -> None:
    fake = scheduler()
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-worker-restart-memory"] = ((1.0, {"worker": ADDRESS, "pid": 5, "rss": 1e9}),)
    timed_out = {"action": "worker-ttl-timed-out", "workers": (ADDRESS, "tcp://b:1"), "ttl": 300.0}
    fake.answers["events-scheduler"] = ((1.0, {"action": "update-graph"}), (2.0, timed_out))
    found = await counted(dask)
    assert found["worker_memory_restarts"] == 1
    assert found["worker_heartbeat_timeouts"] == 2


async def test_restarted_scheduler_loses_no_event() -> None:
    fake = scheduler(all=(added(2), removed(3, expected=False)))
    dask = collector(fake)  # its clock stands at 1
    await counted(dask)
    restart(fake, started=50.0)
    fake.answers["events-all"] = (added(51), added(52), removed(53, expected=False))
    found = await counted(dask)
    assert found["worker_additions"] == 2
    assert found['worker_removals{expected="false"}'] == 1
    assert found['event_window_overflows{topic="all"}'] == 0
    assert (await counted(dask)) == found


async def test_another_scheduler_that_was_there_before_us_brings_no_history() -> None:
    fake = scheduler(started=0.5)
    dask = collector(fake)
    await counted(dask)
    restart(fake, started=0.9)  # younger than the one we knew, older than our first look at 1.0
    fake.answers["events-all"] = (added(0.95),)
    assert (await counted(dask))["worker_additions"] == 0
    fake.answers["events-all"] += (added(3),)
    assert (await counted(dask))["worker_additions"] == 1


async def test_older_scheduler_behind_the_same_address_brings_no_history() -> None:
    fake = scheduler()
    dask = collector(fake)
    await counted(dask)
    restart(fake, started=50.0)
    await counted(dask)
    restart(fake, started=40.0)
    fake.answers["events-all"] = (added(45),)
    assert (await counted(dask))["worker_additions"] == 0


async def test_restart_between_two_questions_counts_nothing_twice() -> None:
    fake = scheduler(all=(added(2),))
    dask = collector(fake)
    await counted(dask)
    old = fake.answers["identity"]

    def once_old() -> Any:
        fake.answers["identity"] = {**old, "id": "second", "started": 50.0}
        fake.answers["events-all"] = (added(51),)
        return old

    fake.answers["identity"] = once_old
    with pytest.raises(CollectError, match="restarted between") as caught:
        await counted(dask)
    assert caught.value.reason is Reason.CONNECT
    found = await counted(dask)
    assert found["worker_additions"] == 1
    assert found['event_window_overflows{topic="all"}'] == 0


async def test_failed_look_leaves_every_event_for_the_next() -> None:
    fake = scheduler()
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-all"] = (added(2),)
    fake.answers["events-scheduler"] = CollectError(Reason.TIMEOUT, "slow")
    with pytest.raises(CollectError, match="slow"):
        await counted(dask)
    assert counters(dask)["worker_additions"] == 0
    fake.answers["events-scheduler"] = ()
    assert (await counted(dask))["worker_additions"] == 1


@pytest.mark.parametrize(
    ("before", "label"),
    [
        ((status(1, "running"),), "false"),
        ((status(1, "running"), status(2, "closing_gracefully")), "true"),
        ((status(2, "closing_gracefully"), status(2.1, "closing")), "true"),
        ((status(2, "closing_gracefully"), status(2.1, "running")), "false"),
    ],
)
async def test_older_versions_are_asked_for_the_workers_own_topic(before: tuple[Event, ...], label: str) -> None:
    fake = scheduler("2024.2.1", all=(added(0.1),))
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-all"] += (removed(3.001, ("a",)),)
    fake.answers[f"events-{ADDRESS}"] = (added(0), *before, removed(3))
    found = await counted(dask)
    assert {line: value for line, value in found.items() if "removals" in line and value} == {
        f'worker_removals{{expected="{label}"}}': 1
    }
    assert found[f'worker_removal_processing_tasks{{expected="{label}"}}'] == 1
    assert fake.asked.count(f"events-{ADDRESS}") == 1


async def test_removal_whose_traces_are_gone_is_unknown() -> None:
    fake = scheduler("2022.12.1")
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-all"] = (removed(3),)
    assert (await counted(dask))['worker_removals{expected="unknown"}'] == 1


def test_same_address_used_again() -> None:
    events = [added(0), status(1, "closing_gracefully"), removed(2), added(3), removed(5), added(6)]
    assert [was_retired(events, at) for at in (1.9, 2, 4, 5, 99)] == [None, True, True, False, False]


@pytest.mark.parametrize(
    ("version", "wanted", "told"),
    [
        ("2022.12.1", ["all"], set()),
        ("2024.3.0", ["all"], {"worker_removal_lost_results"}),
        ("2024.4.2", ["all", "worker-restart-memory"], {"worker_removal_lost_results", "worker_memory_restarts"}),
        (
            "2024.8.0+3.gabcdef",
            ["all", "worker-restart-memory", "scheduler"],
            {"worker_removal_lost_results", "worker_memory_restarts", "worker_heartbeat_timeouts"},
        ),
        ("unknown", ["all"], set()),
    ],
)
async def test_what_a_version_does_not_tell_is_absent(version: str, wanted: list[str], told: set[str]) -> None:
    assert topics(parse_version(version)) == wanted
    fake = scheduler()
    fake.answers["versions"] = {"host": {"python": "3.11.2.final.0"}, "packages": {"distributed": version}}
    dask = collector(fake)
    found = {line.partition("{")[0] for line in await counted(dask)}
    assert found - {"worker_additions", "worker_removals", "worker_removal_processing_tasks"} == {
        "event_window_overflows",
        *told,
    }
    assert [name for name in fake.asked if name.startswith("events")] == [f"events-{topic}" for topic in wanted]


async def test_unreadable_versions_do_not_stop_the_counting() -> None:
    fake = scheduler()
    fake.answers["versions"] = CollectError(Reason.FORBIDDEN, "blocked")
    dask = collector(fake)
    await counted(dask)
    fake.answers["events-all"] = (added(1),)
    assert (await counted(dask))["worker_additions"] == 1


@pytest.mark.parametrize("events", [None, {}, "text", ((1,),), ((1, 2, 3),), (("now", {}),), ((None, {}),)])
async def test_events_of_another_shape_are_unexpected_content(events: object) -> None:
    fake = scheduler(all=events)
    with pytest.raises(CollectError) as caught:
        await counted(collector(fake))
    assert caught.value.reason is Reason.SHAPE


async def test_large_window_is_looked_at_less_often() -> None:
    fake = scheduler(all=tuple(added(i) for i in range(LARGE_WINDOW + 1)))
    dask = collector(fake)
    assert dask.parts()["events"].keep == 0
    await counted(dask)
    assert dask.parts()["events"].keep == 30


@given(
    st.lists(st.sampled_from([1.0, 1.0, 2.0, 3.0]), max_size=30),
    st.lists(st.integers(0, 6), max_size=8),
    st.integers(1, 5),
)
def test_windows_count_everything_or_say_so(times: list[float], steps: list[int], size: int) -> None:
    """A model: a scheduler that keeps `size` events, looked at after every few. Times that all differ are exact."""
    stamped = [(index + at / 10, None) for index, at in enumerate(times)]
    window, seen, counted_events, overflowed = Window(()), 0, 0, False
    for step in (*steps, len(stamped)):
        before, seen = seen, min(len(stamped), seen + step)
        news, over, window = window.news(stamped[max(0, seen - size) : seen])
        counted_events += len(news)
        missed = seen - before > size
        assert over or not missed or before == 0
        overflowed |= over or missed
        if not overflowed:
            assert counted_events == seen


@given(st.lists(st.sampled_from([1.0, 2.0]), max_size=12), st.lists(st.sampled_from([1.0, 2.0]), max_size=12))
def test_window_without_eviction_is_exact_whatever_the_times(old: list[float], new: list[float]) -> None:
    _, _, window = Window(()).news([(at, None) for at in old])
    news, overflowed, _ = window.news([(at, None) for at in (*old, *new)])
    assert [at for at, _ in news] == new
    assert not overflowed


def test_windows_made_to_be_compared_for_ever_are_given_up_and_said_so() -> None:
    same = [(1.0, None)] * 100_000
    _, _, window = Window(()).news([*same, (2.0, None)])
    before = time.process_time()
    news, overflowed, _ = window.news([*same, (3.0, None)])
    assert (list(news), overflowed) == ([], True)
    assert time.process_time() - before < 2


async def test_more_events_than_can_be_real_are_refused_with_the_setting_to_change() -> None:
    fake = scheduler(all=((0.5, {}),) * (MOST_EVENTS + 1))
    with pytest.raises(CollectError, match="low-level-log-length") as caught:
        await collector(fake).parts()["events"].ask()
    assert caught.value.reason is Reason.TOO_LARGE
