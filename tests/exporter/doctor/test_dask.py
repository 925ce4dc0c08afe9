"""What is found on Dask clusters, each fault shown by a scheduler and web servers on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from contextlib import AsyncExitStack

import pytest
from aiohttp.test_utils import unused_port

from exporter.collectors.base import NativeEndpoint
from exporter.doctor import collection, dask, dask_web
from exporter.doctor.dask_bugs import BUGS
from tests.certificates import Authority
from tests.exporter.doctor.servers import (
    NATIVE,
    NATIVE_WORKER,
    cluster,
    found,
    js,
    scheduler,
    server_tls,
    serving,
    text,
    worker,
)

KNOWN_BUGS = {bug.kind.id for bug in BUGS}
PYTHON = "python_info 1.0\nprocess_start_time_seconds {}\nprocess_virtual_memory_bytes {}\n"


async def look(
    web=NATIVE,
    workers=(),
    *,
    worker_web=None,
    version="2026.8.0",
    host="127.0.0.1",
    answers=None,
    **target,
):
    """Findings without the known bugs. `workers` are keyword arguments of `worker`; each gets a web server."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            serving({"/metrics": text(web) if isinstance(web, str) else web, "/health": text("ok")})
        )
        entries = {}
        for number, given in enumerate(workers, 1):
            page = worker_web or NATIVE_WORKER + PYTHON.format(number, number)
            port = given.pop("port", None) or await stack.enter_async_context(serving({"/metrics": text(page)}))
            address = given.pop("address", f"tcp://127.0.0.1:{number}")
            entries[address] = worker(None if port == "none" else port, **given)
        known = cluster(http, entries, version) | (answers or {})
        rpc = await stack.enter_async_context(scheduler(known))
        seen = await found("dask", scheduler=f"tcp://{host}:{rpc}", **target)
        return {id: finding for id, finding in seen.items() if id not in KNOWN_BUGS}


async def test_nothing_is_found_on_a_good_cluster():
    assert await look(workers=[{"name": "a"}, {"name": "b"}]) == {}


async def test_no_workers():
    assert list(await look()) == ["dask-no-workers"]


async def test_workers_without_a_nanny():
    seen = await look(workers=[{"name": "a"}, {"name": "b", "nanny": False}])
    assert list(seen) == ["dask-no-nanny"]
    assert seen["dask-no-nanny"].seen == "1 of 2 workers: b"


async def test_no_prometheus_client():
    comment = "# Prometheus metrics are not available, see: https://docs.dask.org/"
    seen = await look(web=comment, workers=[{}])
    assert list(seen) == ["dask-no-prometheus-client"]
    assert "answers 200 without a series" in seen["dask-no-prometheus-client"].seen
    seen = await look(workers=[{"name": "w"}], worker_web=comment)
    assert seen["dask-no-prometheus-client"].seen == "1 worker without a series: w"


async def test_native_metrics_without_dasks_own():
    seen = await look(web=PYTHON.format(1, 2), workers=[{}])
    assert list(seen) == ["dask-native-empty"]
    assert "has 3 series and none of Dask's own" in seen["dask-native-empty"].seen
    seen = await look(workers=[{"name": "w"}], worker_web=PYTHON.format(1, 2))
    assert "1 worker without Dask's own series: w" in seen["dask-native-empty"].seen


@pytest.mark.parametrize("web", [js({}), text("", status=404), text("x", status=500)])
async def test_something_else_at_the_dashboards_address(web):
    assert list(await look(web=web, workers=[{}])) == ["dask-http-unreachable"]


async def test_a_dashboard_that_cannot_be_reached():
    seen = await look(workers=[{}], dashboard=f"http://127.0.0.1:{unused_port()}")
    assert "dask-http-unreachable" in seen


async def test_no_dashboard():
    async with scheduler(cluster(None)) as port:
        assert {"dask-no-workers", "dask-no-http"} == set(await found("dask", scheduler=f"tcp://127.0.0.1:{port}"))


def _prefixes(count):
    return NATIVE + "".join(f'dask_scheduler_tasks_x{{task_prefix_name="p\\"{number}"}} 0\n' for number in range(count))


async def test_many_prefixes():
    assert await look(web=_prefixes(dask_web.MANY - 1), workers=[{}]) == {}
    seen = await look(web=_prefixes(dask_web.MANY), workers=[{}])
    assert list(seen) == ["dask-many-prefixes"]
    assert f"{dask_web.MANY + 1} task prefixes, {dask_web.MANY + 2} series" in seen["dask-many-prefixes"].seen


async def test_more_native_series_than_prometheus_takes(monkeypatch):
    monkeypatch.setattr(dask_web, "SAMPLES", 500)
    assert list(await look(web=_prefixes(500), workers=[{}])) == ["dask-native-too-large"]


async def test_blocked_worker_ports():
    seen = await look(workers=[{"name": "a"}, {"name": "b", "port": unused_port()}])
    assert list(seen) == ["dask-worker-ports"]
    assert seen["dask-worker-ports"].seen.startswith("1 of 2 workers asked: b (127.0.0.1:")


async def test_workers_without_http():
    seen = await look(workers=[{"name": "a"}, {"name": "b", "port": "none"}])
    assert list(seen) == ["dask-no-http"]
    assert seen["dask-no-http"].seen == "1 worker without an HTTP port: b"


async def test_a_worker_in_the_schedulers_process():
    """Its page has the scheduler's series too (B6)."""
    seen = await look(workers=[{"name": "a"}], worker_web=NATIVE_WORKER + NATIVE)
    assert list(seen) == ["dask-shared-process"]
    assert seen["dask-shared-process"].seen == "/metrics of a has the scheduler's series too"


async def test_a_scheduler_that_shows_a_workers_series_only():
    assert "dask-native-empty" in await look(web=NATIVE_WORKER, workers=[{}])


async def test_workers_that_look_alike_are_still_two():
    """Workers that were started together often have the same start time and memory."""
    page = NATIVE_WORKER + PYTHON.format(5, 6)
    assert await look(workers=[{"name": "a"}, {"name": "b"}], worker_web=page) == {}


async def test_two_workers_that_name_one_port():
    async with serving({"/metrics": text(NATIVE_WORKER)}) as port:
        seen = await look(workers=[{"name": "a", "port": port}, {"name": "b", "port": port}])
    assert f"several workers name the same HTTP port: 127.0.0.1:{port}" in seen["dask-shared-process"].seen


async def test_workers_inside_the_schedulers_process():
    seen = await look(workers=[{"name": "a", "address": "inproc://127.0.0.1/1/2", "port": "none", "host": ""}])
    assert list(seen) == ["dask-shared-process"]


async def test_a_median_that_is_none():
    page = NATIVE_WORKER + "dask_worker_tick_duration_median_seconds 0.5\n"
    assert list(await look(workers=[{}], worker_web=page)) == ["dask-median-is-maximum"]


async def test_a_workers_clock(monkeypatch):
    monkeypatch.setattr(dask, "HEARTBEATS", 0.01)
    assert await look(workers=[{"ahead": 4}, {"ahead": -4}]) == {}
    seen = await look(workers=[{"name": "a", "ahead": 30}, {"name": "b", "ahead": -30}])
    assert list(seen) == ["dask-worker-clock"]
    assert seen["dask-worker-clock"].seen == "against the scheduler's clock: a +30 s, b -30 s"


async def test_a_late_heartbeat_is_no_wrong_clock(monkeypatch):
    """Its time was right when it was sent; the next one shows that."""
    monkeypatch.setattr(dask, "HEARTBEATS", 0.01)
    async with serving({"/metrics": text(NATIVE), "/health": text("ok")}) as http:
        late = {"tcp://127.0.0.1:1": worker(name="a", ahead=-42), "tcp://127.0.0.1:2": worker(name="b", ahead=-50)}
        answers = dict(cluster(http, late))
        entries = answers["identity"]["workers"]

        class Changing(dict):
            asked = 0

            def get(self, name, default=None):
                if name == "identity":
                    self.asked += 1
                    if self.asked > 1:
                        entries["tcp://127.0.0.1:1"] = worker(name="a")
                return super().get(name, default)

        async with scheduler(Changing(answers)) as port:
            seen = await found("dask", scheduler=f"tcp://127.0.0.1:{port}")
    assert seen["dask-worker-clock"].seen == "against the scheduler's clock: b -50 s"


async def test_the_schedulers_clock():
    http = {"/metrics": text(NATIVE), "/health": text("ok", skew=-60)}
    async with serving(http) as dashboard, scheduler(cluster(dashboard)) as port:
        seen = await found("dask", scheduler=f"tcp://127.0.0.1:{port}")
    assert seen["clock-skew"].seen in {f"the target's clock is {s} s behind this machine's" for s in (59, 60)}


async def test_the_clock_of_a_scheduler_without_http():
    for ahead, expected in ((3600, True), (-3600, False)):
        workers = {"tcp://127.0.0.1:1": worker(last_seen=time.time() + ahead, metrics={})}
        async with scheduler(cluster(None, workers)) as port:
            seen = await found("dask", scheduler=f"tcp://127.0.0.1:{port}")
        assert ("clock-skew" in seen) == expected


async def test_a_page_made_to_hurt():
    """Long lines of almost the right words, and millions of empty ones."""
    hurt = "a_worker_" * 50_000 + "\n" + "_scheduler" * 50_000 + "\n" * 200_000 + ',task_prefix_name="' * 20_000
    async with asyncio.timeout(10):
        seen = await look(web=hurt, workers=[{}], worker_web=hurt)
    assert "dask-native-empty" in seen


async def test_what_is_open_to_the_network():
    """0.0.0.0 is this machine too, and no loopback address by its looks."""
    seen = await look(workers=[{}], host="0.0.0.0")
    assert "dask-open" in seen
    assert seen["dask-worker-loopback"].seen == "1 worker: a"


async def test_a_secured_scheduler_with_an_open_dashboard(tmp_path):
    authority = Authority("ours")
    ca, pair = authority.write_ca(tmp_path), authority.write_pair(tmp_path, lasts=dt.timedelta(days=90))
    pair[1].chmod(0o600)
    files = {"ca_file": ca, "cert_file": pair[0], "key_file": pair[1]}
    tls = server_tls(*pair, client_ca=ca)
    async with serving({"/metrics": text(NATIVE)}) as http, scheduler(cluster(http), tls) as port:
        seen = await found("dask", scheduler=f"tls://0.0.0.0:{port}", **files)
    assert set(seen) - KNOWN_BUGS == {"dask-http-open", "dask-no-workers"}
    assert seen["dask-http-open"].seen == f"http://0.0.0.0:{http}"


def test_the_known_bugs():
    assert {"dask-tick-maximum", "dask-forgotten-falls", "dask-compute-late", "dask-json-fails"} == KNOWN_BUGS


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2022.12.0", {"dask-forgotten-falls"}),
        ("2022.12.1", {"dask-forgotten-falls", "dask-tick-maximum"}),
        ("2023.1.1", KNOWN_BUGS - {"dask-json-fails"}),
        ("2024.2.1", KNOWN_BUGS),
        ("2027.1.0", KNOWN_BUGS),
        ("?", KNOWN_BUGS),
    ],
)
async def test_bugs_that_a_version_has(version, expected):
    async with serving({"/metrics": text(NATIVE)}) as http, scheduler(cluster(http, {}, version)) as port:
        seen = await found("dask", scheduler=f"tcp://127.0.0.1:{port}")
    assert set(seen) & KNOWN_BUGS == expected
    assert ("it may be mended" in seen["dask-forgotten-falls"].seen) == (version == "2027.1.0")


async def test_an_old_version():
    assert "dask-old" in await look(workers=[{}], version="2021.10.0")


async def test_refused_operations_are_a_part_that_fails():
    refusal = {"status": "uncaught-error", "exception_text": "explicitly disallowed"}
    seen = await look(workers=[{}], answers={"events-all": refusal, "versions": refusal})
    assert "blocked-handlers" in seen["part-fails"].seen
    assert seen["part-fails"].severity == "warning"


async def test_a_slow_scheduler():
    async with serving({"/metrics": text(NATIVE)}) as http, scheduler(cluster(http), delay=0.1) as port:
        seen = await found("dask", scheduler=f"tcp://127.0.0.1:{port}", timeout="1s")  # six questions in a row
    assert "scrape-slow" in seen
    assert seen["scrape-slow"].seen.endswith("s of the 1 s it may take")


async def test_series_near_and_over_the_limit():
    workers = [{"name": str(number)} for number in range(3)]
    assert "series-near-limit" not in await look(workers=[*map(dict, workers)], series_limit=5000)
    seen = await look(workers=[*map(dict, workers)], series_limit=40)
    assert "series-dropped" in seen
    for most in range(200, 20, -5):
        seen = await look(workers=[*map(dict, workers)], series_limit=most, worker_series=False)
        if "series-near-limit" in seen:
            break
    assert seen["series-near-limit"].seen.endswith(f"of series_limit {most}")
    assert collection.SERIES_DROPPED.id not in seen


def test_workers_of_every_host_are_asked_first():
    endpoints = [NativeEndpoint(f"10.0.0.{host}:{port}") for host in (1, 2) for port in (1, 2, 3)]
    asked = [endpoint.address for endpoint in dask_web.spread(endpoints, 3)]
    assert asked == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:2"]
