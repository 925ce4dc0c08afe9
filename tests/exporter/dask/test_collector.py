"""From recorded answers of real schedulers to series."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.base import Answer, NativeEndpoint, Outcome
from exporter.collectors.dask import COLLECTOR, KEPT_WORKERS_SECONDS, DaskCollector
from exporter.collectors.dask_native import tells_of_scheduler
from exporter.collectors.dask_series import count_worker_series, worker_families
from exporter.collectors.dask_workers import Roster, _host_of, host_of, valid_host
from exporter.errors import CollectError, Reason
from exporter.families import Family, encode
from provisioning.config.hosts import HostNames
from provisioning.config.targets import HostTarget
from tests.exporter.dask.recorded import NATIVE, VERSIONS, Clock, FakeScheduler, collector
from tests.exporter.fakes import values
from tests.exporter.golden import Golden, assert_parses


async def look(dask: DaskCollector) -> dict[str, float]:
    """All samples of one collection, after one that learned where the web server is."""
    await dask.parts()["identity"].ask()
    families: list[Family] = []
    for part in dask.parts().values():
        families += await part.ask()
    return values(families + dask.standing())


async def error_of(dask: DaskCollector, part: str) -> CollectError:
    with pytest.raises(CollectError) as caught:
        await dask.parts()[part].ask()
    return caught.value


def worker(scheduler: FakeScheduler, name: str = "alpha") -> dict[str, Any]:
    """The entry of a worker, to be spoiled."""
    scheduler.answers["identity"] = copy.deepcopy(scheduler.answers["identity"])
    entry: dict[str, Any]
    (entry,) = (entry for entry in scheduler.answers["identity"]["workers"].values() if entry["name"] == name)
    return entry


@pytest.mark.parametrize("version", VERSIONS)
async def test_golden(version: str, golden: Golden) -> None:
    scheduler = FakeScheduler.of(version)
    clock = Clock(1000.0)
    hosts = (HostTarget(name="rack-1", addresses=["10.0.0.11"]),)
    dask = collector(scheduler, clock, hosts)
    whole = scheduler.answers["events-all"]
    # At first sight one worker had joined; the others, and the one that was killed, come after.
    scheduler.answers["events-all"] = whole[:1]
    await look(dask)
    scheduler.answers["events-all"] = whole
    clock.now = 1012.5
    await golden.check(dask, version)


def test_all_three_versions_are_recorded() -> None:
    assert VERSIONS == ("2022.12.1", "2024.2.1", "2026.8.0")


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_part_name_is_declared_and_each_operation_asked_once(version: str) -> None:
    scheduler = FakeScheduler.of(version)
    dask = collector(scheduler)
    assert COLLECTOR is DaskCollector
    first = dask.parts()
    assert tuple(first) == DaskCollector.part_names[:-1]  # the web server's address is not known yet
    for part in first.values():
        await part.ask()
    assert len(scheduler.asked) == len(set(scheduler.asked))
    assert tuple(dask.parts()) == DaskCollector.part_names
    await look(dask)
    assert scheduler.asked.count("versions") == 1


async def test_web_server_is_left_alone_while_the_scheduler_is_down() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    dask = collector(scheduler)
    await look(dask)
    scheduler.down()
    await error_of(dask, "identity")
    assert "native" not in dask.parts()


async def test_unknown_values_are_absent_not_zero() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    entry.update(nthreads=None, memory_limit=0, last_seen=math.nan)
    entry["metrics"].update(memory="much", cpu=None, num_fds=True, spilled_bytes=None, transfer=None)
    del entry["metrics"]["task_counts"], entry["metrics"]["event_loop_interval"], entry["nanny"]
    found = await look(collector(scheduler))
    mine = {line.partition("{")[0] for line in found if 'worker="alpha"' in line}
    assert mine == {
        "dask_cluster_worker_info",
        "dask_cluster_worker_status",
        "dask_cluster_worker_memory_managed_bytes",
        "dask_cluster_worker_processing_tasks",
        "dask_cluster_worker_oldest_processing_task_seconds",
    }
    assert found["dask_cluster_threads"] == 2  # beta's alone
    assert found["dask_cluster_memory_limit_bytes"] == 4e8


async def test_no_limits_at_all_leaves_the_sum_and_the_ratio_out() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    for name in ("alpha", "beta"):
        worker(scheduler, name)["memory_limit"] = None
    found = await look(collector(scheduler))
    assert "dask_cluster_memory_limit_bytes" not in found
    assert not any("memory_ratio" in line for line in found)


async def test_one_worker_with_absurd_numbers_takes_only_the_sums_along() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    for name in ("alpha", "beta"):
        entry = worker(scheduler, name)
        entry.update(nthreads=1.7e308, memory_limit=5e-324)
        entry["metrics"].update(memory=1.7e308, task_counts={"memory": 1.7e308})
    found = await look(collector(scheduler))
    assert "dask_cluster_threads" not in found
    assert 'dask_cluster_tasks{state="memory"}' not in found
    assert found['dask_cluster_workers{status="running"}'] == 2
    assert all(map(math.isfinite, found.values()))


async def test_a_scheduler_that_invents_workers_is_refused_before_they_are_made() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    worker(scheduler)
    scheduler.answers["identity"]["workers"] = {f"tcp://a:{number}": {} for number in range(100_001)}
    error = await error_of(collector(scheduler), "identity")
    assert error.reason is Reason.TOO_LARGE
    assert str(error) == "tells of 100001 workers; at most 100000 are read"
    scheduler.answers["identity"]["workers"] = {}
    scheduler.answers["processing"] = {f"tcp://a:{number}": () for number in range(100_001)}
    assert (await error_of(collector(scheduler), "processing")).reason is Reason.TOO_LARGE


async def test_other_targets_get_their_turns_while_very_many_workers_are_decoded() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    scheduler.answers["identity"]["workers"] = {f"tcp://a:{number}": entry for number in range(20_000)}
    dask = collector(scheduler, series_limit=1000)
    look = asyncio.create_task(dask.parts()["identity"].ask())
    began, longest = time.process_time(), 0.0
    while not look.done():
        before = time.thread_time()
        await asyncio.sleep(0.005)
        longest = max(longest, time.thread_time() - before)
    assert len(look.result()) > 1
    assert longest < (time.process_time() - began) / 2, "CPU of the event loop's thread without a pause"


async def test_spilled_data_is_not_managed_memory() -> None:
    scheduler = FakeScheduler.of("2024.2.1")
    worker(scheduler)["metrics"].update(memory=500, managed_bytes=300, spilled_bytes={"memory": 100, "disk": 80})
    found = await look(collector(scheduler))
    alpha = '{host="10.0.0.11",worker="alpha"}'
    assert found[f"dask_cluster_worker_memory_managed_bytes{alpha}"] == 200
    assert found[f"dask_cluster_worker_memory_unmanaged_bytes{alpha}"] == 300
    assert found[f"dask_cluster_worker_memory_spilled_bytes{alpha}"] == 100
    assert found[f"dask_cluster_worker_disk_spilled_bytes{alpha}"] == 80


async def test_empty_cluster_has_zeros_where_zero_is_known() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    scheduler.answers["identity"] = {**scheduler.answers["identity"], "workers": {}}
    scheduler.answers["processing"] = {}
    found = await look(collector(scheduler))
    assert sum(value for line, value in found.items() if line.startswith("dask_cluster_workers{")) == 0
    assert found['dask_cluster_workers{status="running"}'] == 0
    assert found["dask_cluster_threads"] == 0
    assert found['dask_cluster_tasks{state="memory"}'] == 0
    assert found["dask_cluster_oldest_processing_task_seconds"] == 0
    assert not any("quantile" in line for line in found)


async def test_names_are_numbers_addresses_and_hostile() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    hostile = 'x"}\n# TYPE up gauge\nup 1 \u202e' + "y" * 500
    names = [1, "1", None, "", hostile, hostile + "z", True, 2.5, b"b", ("t",)]
    scheduler.answers["identity"]["workers"] = {
        f"tcp://10.0.0.{index}:1": {**entry, "name": name} for index, name in enumerate(names)
    }
    families: list[Family] = []
    for part in collector(scheduler).parts().values():
        families += await part.ask()
    text = encode(families, openmetrics=False)
    assert_parses(text, encode(families, openmetrics=True) + "# EOF\n")
    assert "\nup 1" not in text
    assert text.count("dask_cluster_worker_info{") == len(names)
    assert 'worker="1"}' in text
    assert 'worker="1 tcp://10.0.0.1:1"}' in text
    assert 'worker="tcp://10.0.0.2:1"}' in text


async def test_status_and_state_labels_are_bounded() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    entry["status"] = "made-up"
    entry["metrics"]["task_counts"] = {"executing": 1, "dreaming": 2, ("a",): 3, "memory": "many", "resumed": 1}
    found = await look(collector(scheduler))
    assert found['dask_cluster_workers{status="other"}'] == 1
    mine = {
        line: value for line, value in found.items() if line.startswith("dask_cluster_worker_tasks") and "alpha" in line
    }
    assert mine['dask_cluster_worker_tasks{host="10.0.0.11",state="other",worker="alpha"}'] == 5
    assert mine['dask_cluster_worker_tasks{host="10.0.0.11",state="resumed",worker="alpha"}'] == 1
    assert mine['dask_cluster_worker_tasks{host="10.0.0.11",state="memory",worker="alpha"}'] == 0
    assert len(mine) == 12


async def test_oldest_task_age_grows_and_starts_over() -> None:
    scheduler, clock = FakeScheduler.of("2026.8.0"), Clock(100.0)
    dask = collector(scheduler, clock)
    name = 'dask_cluster_worker_oldest_processing_task_seconds{host="10.0.0.11",worker="alpha"}'
    address = "tcp://10.0.0.11:40001"

    async def age(at: float, *keys: object) -> float:
        clock.now = at
        scheduler.answers["processing"] = {address: keys}
        return (await look(dask))[name]

    assert await age(100, "a") == 0
    assert await age(130, "a", ("b", 0)) == 30
    assert await age(140, ("b", 0)) == 10  # a is done
    scheduler.answers["processing"] = CollectError(Reason.TIMEOUT, "slow")
    assert (await error_of(dask, "processing")).reason is Reason.TIMEOUT
    assert await age(150, ("b", 0)) == 20  # a failed look forgets nothing
    assert await age(160) == 0
    assert await age(170, ("b", 0)) == 0  # given anew
    scheduler.answers["identity"] = {**scheduler.answers["identity"], "id": "Scheduler-other"}
    assert await age(180, ("b", 0)) == 0  # another scheduler gave it


async def test_oldest_of_all_and_keys_nobody_expects() -> None:
    scheduler, clock = FakeScheduler.of("2026.8.0"), Clock(0.0)
    dask = collector(scheduler, clock)
    scheduler.answers["processing"] = {"tcp://10.0.0.12:40002": ("a", {"no": "key"}), "tcp://left:1": ("c",), 5: ()}
    await look(dask)
    clock.now = 60.0
    found = await look(dask)
    assert found["dask_cluster_oldest_processing_task_seconds"] == 60
    assert found['dask_cluster_worker_processing_tasks{host="10.0.0.12",worker="beta"}'] == 1
    assert 'dask_cluster_worker_processing_tasks{host="10.0.0.11",worker="alpha"}' not in found
    assert found["dask_cluster_processing_tasks"] == 2
    assert found['dask_cluster_worker_oldest_processing_task_seconds_quantile{q="1"}'] == 60


async def test_worker_series_can_be_switched_off() -> None:
    with_series = await look(collector(FakeScheduler.of("2026.8.0")))
    dask = collector(FakeScheduler.of("2026.8.0"), worker_series=False)
    without = await look(dask)
    assert not any("worker=" in line for line in without)
    assert without == {line: value for line, value in with_series.items() if "worker=" not in line}
    assert dask.withheld == 0  # as the operator wants it
    assert 'dask_cluster_worker_memory_ratio_quantile{q="1"}' in without


async def test_totals_stand_in_when_the_limit_is_too_low() -> None:
    dask = collector(FakeScheduler.of("2026.8.0"), series_limit=210)
    found = await look(dask)
    assert not any("worker=" in line for line in found)
    whole = await look(collector(FakeScheduler.of("2026.8.0")))
    assert dask.withheld == sum("worker=" in line for line in whole)
    assert len(found) < 210


async def test_a_large_cluster_is_looked_at_less_often_and_does_not_flap_around_the_limit() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    dask = collector(scheduler)
    for count, large in ((200, False), (201, True), (190, True), (180, False), (200, False)):
        workers = {f"tcp://10.0.0.11:{40_000 + index}": {**entry, "name": f"w{index}"} for index in range(count)}
        scheduler.answers["identity"]["workers"] = workers
        await dask.parts()["identity"].ask()
        assert dask.large is large, count


async def test_endpoints_of_scheduler_and_workers() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    workers = scheduler.answers["identity"]["workers"]
    workers["tls://[2001:db8::7]:4000"] = {**entry, "name": 7, "services": {"dashboard": 9000}}
    workers["inproc://10.0.0.5/1/2"] = {**entry, "name": "here", "host": "10.0.0.5", "services": {"dashboard": 8787}}
    for index, port in enumerate((0, None, "8787", 70000, -1, True)):
        workers[f"tcp://10.0.9.{index}:1"] = {**entry, "name": f"off-{index}", "services": {"dashboard": port}}
    for index, host in enumerate(("a b", "x/metrics?", "fe80::1%eth0", "", None, "a" * 300)):
        workers[f"odd{index}"] = {**entry, "name": f"odd-{index}", "host": host}
    dask = collector(scheduler, hosts=(HostTarget(name="rack-1", addresses=["10.0.0.12"]),))
    assert dask.native_endpoints() == []
    await look(dask)
    assert dask.native_endpoints() == [
        NativeEndpoint("10.0.0.5:8787", {"host": "10.0.0.5"}, scheduler=True),
        NativeEndpoint("10.0.0.11:8790", {"worker": "alpha", "host": "10.0.0.11"}),
        NativeEndpoint("10.0.0.12:8790", {"worker": "beta", "host": "rack-1"}),
        NativeEndpoint("[2001:db8::7]:9000", {"worker": "7", "host": "2001:db8::7"}),
        NativeEndpoint("10.0.0.5:8787", {"worker": "here", "host": "10.0.0.5"}),
    ]


async def test_loopback_worker_of_a_remote_scheduler_is_on_its_machine() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    entry = worker(scheduler)
    scheduler.answers["identity"]["workers"] = {"tcp://127.0.0.1:4000": entry}
    remote = collector(scheduler)
    await look(remote)
    assert remote.native_endpoints()[1] == NativeEndpoint("10.0.0.5:8790", {"worker": "alpha", "host": "10.0.0.5"})
    local = collector(scheduler, scheduler="tcp://localhost:8786")
    await look(local)
    assert local.native_endpoints()[1] == NativeEndpoint("127.0.0.1:8790", {"worker": "alpha", "host": "box"})


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.2", "0.0.0.0", "LOCALHOST", "box.localhost", "127.1", "2130706433", "0x7f.0.0.1"),
        *("[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:2]"),
    ],
)
async def test_no_spelling_of_loopback_makes_prometheus_ask_its_own_machine(address: str) -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    scheduler.answers["identity"]["workers"] = {f"tcp://{address}:4000": worker(scheduler)}
    remote = collector(scheduler)
    await look(remote)
    assert remote.native_endpoints()[1].address == "10.0.0.5:8790"


async def test_configured_dashboard_is_the_schedulers_endpoint() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    dask = collector(scheduler, dashboard="https://dask.example/lab")
    await look(dask)
    assert dask.native_endpoints()[0] == NativeEndpoint(
        "dask.example:443", {"host": "10.0.0.5"}, scheme="https", path="/lab/metrics", scheduler=True
    )
    assert scheduler.native_urls == ["https://dask.example/lab"]


async def test_silent_scheduler_keeps_its_endpoints_for_ten_minutes() -> None:
    scheduler, clock = FakeScheduler.of("2026.8.0"), Clock(50.0)
    dask = collector(scheduler, clock)
    await look(dask)
    assert len(dask.native_endpoints()) == 3
    scheduler.down()
    clock.now += KEPT_WORKERS_SECONDS
    assert (await error_of(dask, "identity")).reason is Reason.REFUSED
    assert len(dask.native_endpoints()) == 3
    clock.now += 1
    assert dask.native_endpoints() == []


async def test_worker_that_left_is_gone_from_the_endpoints_at_once() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    dask = collector(scheduler)
    await look(dask)
    identity = scheduler.answers["identity"]
    scheduler.answers["identity"] = {**identity, "workers": dict(list(identity["workers"].items())[:1])}
    await look(dask)
    assert [endpoint.labels.get("worker") for endpoint in dask.native_endpoints()] == [None, "alpha"]


@pytest.mark.parametrize(
    ("native", "available"),
    [
        (Answer(200, "text/plain", NATIVE), 1),
        (Answer(200, "text/plain", NATIVE.replace(b"dask_", b"lab_")), 1),  # namespace is configurable
        (Answer(200, "text/plain", b"# Prometheus metrics are not available, see https://..."), 0),
        (Answer(200, "text/plain", b"# HELP process_cpu\nprocess_cpu_seconds_total 5.0\n"), 0),  # dask#9096
        (Answer(404, "text/html", b"<html>"), 0),
        (CollectError(Reason.REFUSED, "refuses"), 0),
    ],
)
async def test_native_metrics_are_real_or_not(native: Answer | CollectError, available: int) -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    scheduler.native = native
    dask = collector(scheduler)
    assert (await look(dask))["dask_cluster_native_metrics_available"] == available
    assert dask.parts()["native"].keep == 60
    assert scheduler.native_urls == ["http://10.0.0.5:8787"]


async def test_scheduler_without_web_server_has_no_native_metrics() -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    scheduler.answers["identity"] = {**scheduler.answers["identity"], "services": {}}
    dask = collector(scheduler)
    assert (await look(dask))["dask_cluster_native_metrics_available"] == 0
    assert scheduler.native_urls == []
    assert dask.native_endpoints()[0].labels["worker"] == "alpha"


def test_only_identity_makes_the_cluster_up() -> None:
    dask = collector(FakeScheduler.of("2026.8.0"))
    fine, bad = Outcome(0.1), Outcome(0.1, CollectError(Reason.TIMEOUT, "x"))
    others = dict.fromkeys(("versions", "processing", "events"), bad)
    assert dask.is_up({"identity": fine, "native": bad, **others})
    assert not dask.is_up({"identity": bad, "native": fine, **dict.fromkeys(others, fine)})
    assert not dask.is_up({"identity": Outcome(0.1, None, kept=True), "native": fine})


@pytest.mark.parametrize("reply", [None, (), "OK", {}, {"type": "Worker", "id": "x", "name": 1}, {"workers": ()}])
async def test_what_is_no_scheduler_is_unexpected_content(reply: object) -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    scheduler.answers["identity"] = reply
    error = await error_of(collector(scheduler), "identity")
    assert error.reason is Reason.SHAPE
    assert "tcp://10.0.0.5:8786" in str(error)


@pytest.mark.parametrize("reply", [None, {}, {"packages": {"distributed": None}, "host": {}}])
async def test_versions_without_a_version_fail_alone(reply: object) -> None:
    scheduler = FakeScheduler.of("2026.8.0")
    scheduler.answers["versions"] = reply
    dask = collector(scheduler)
    assert (await error_of(dask, "versions")).reason is Reason.SHAPE
    parts = dask.parts()
    for name in ("identity", "processing", "events", "native"):
        await parts[name].ask()
    assert "dask_cluster_worker_additions" in encode(dask.standing(), openmetrics=True)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=5)
            | st.sampled_from(
                ["workers", "metrics", "services", "dashboard", "name", "spilled_bytes", "transfer", "action"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(junk, junk, junk, junk, junk)
async def test_decoders_only_ever_raise_collect_errors(
    identity: Any, entry: Any, processing: Any, events: Any, versions: Any
) -> None:
    scheduler = FakeScheduler(
        {"identity": identity, "processing": processing, "events-all": events, "versions": versions}
    )
    for whole in (False, True):
        if whole:
            scheduler.answers["identity"] = {
                "id": "s",
                "workers": {"tcp://10.0.0.1:1": entry, "tcp://b:1": {"metrics": entry}},
            }
            scheduler.answers["events-all"] = ((1.0, entry), (2.0, {"action": "remove-worker", "worker": "a"}))
        dask = collector(scheduler)
        for _ in range(2):
            families: list[Family] = []
            for part in dask.parts().values():
                with contextlib.suppress(CollectError):
                    families += await part.ask()
            encode(families + dask.standing(), openmetrics=False)
            dask.native_endpoints()


@pytest.mark.parametrize("version", VERSIONS)
async def test_worker_series_are_counted_without_making_them(version: str) -> None:
    """The count decides whether they fit, so it must be exact, also for a worker that tells less."""
    workers = FakeScheduler.of(version).answers["identity"]["workers"]
    entry = dict(next(iter(workers.values())))
    odd = {**entry, "memory_limit": None, "metrics": {"task_counts": {"memory": 1, "new-state": 2}, "transfer": {}}}
    decoded, _ = Roster(HostNames([], "box"), "10.0.0.5").decode(
        {**workers, "tcp://10.0.0.99:1": odd, "tcp://10.0.0.98:1": {}}
    )
    assert len(decoded) == len(workers) + 2
    assert count_worker_series(decoded, 0) == sum(len(family.samples) for family in worker_families(decoded))


def test_an_address_of_megabytes_names_no_host_and_is_not_remembered() -> None:
    """Two caches kept thousands of them, each as long as a scheduler's whole answer."""
    _host_of.cache_clear()
    for number in range(3):
        assert host_of(f"tcp://{'a' * 2_000_000}{number}:1") is None
    assert valid_host(":" * 2_000_000) is None
    assert _host_of.cache_info().currsize == 0
    assert host_of("tcp://10.0.0.5:43210") == "10.0.0.5"


@pytest.mark.parametrize(
    ("body", "real"),
    [
        (b"dask_scheduler_workers 1\n", True),
        (b'# HELP dask_scheduler_workers Number\nlab_scheduler_tasks{state="x"} 1\n', True),
        (b"# HELP dask_scheduler_workers Number\n# TYPE dask_scheduler_workers gauge\n", False),
        (b"dask_scheduler_tasks_compute_seconds_total 1\n", False),
        (b"_scheduler_workers 1\n", False),
        (b"x" * 101 + b"_scheduler_workers 1\n", False),
        (b"\n" + b"x" * 100 + b"_scheduler_workers 1\n", True),
        (b"", False),
    ],
)
def test_real_series_are_those_of_the_scheduler_itself(body: bytes, real: bool) -> None:
    assert tells_of_scheduler(body) is real


@pytest.mark.parametrize("unit", [b"_scheduler_", b"a\n", b"_scheduler_workers ", b"a"])
def test_a_page_made_to_be_slow_is_judged_at_once(unit: bytes) -> None:
    body = unit * ((12 << 20) // len(unit))
    began = time.process_time()
    assert not tells_of_scheduler(body)
    assert time.process_time() - began < 0.35
