"""The Dask collector against real schedulers and workers of three versions, held against what was done to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.client.http import HttpClient
from exporter.client.wires import TargetWires
from exporter.collectors.dask import DaskCollector
from exporter.collectors.dask_events import parse_version
from exporter.errors import Reason
from exporter.families import encode
from exporter.scrape import Collection, Watch
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, TlsFiles
from tests.certificates import Authority
from tests.exporter.dask.recorded import Clock
from tests.exporter.fakes import values
from tests.exporter.golden import assert_parses, lint
from tests.real.dask_cluster import VERSIONS, Cluster, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]  # the first run makes the environments
TELLS_ALL = (2024, 8, 0)  # the first version whose events say everything we count
UNEXPECTED, RETIRED = 'worker_removals{expected="false"}', 'worker_removals{expected="true"}'


class Watched:
    """A collector with its connections, looked through as the exporter does it."""

    def __init__(self, address: str, **more: Any) -> None:
        target = DaskTarget(name="main", scheduler=address, **more)
        self.clock = Clock(0.0)
        self.wires = TargetWires()
        self.collector = DaskCollector(target, self.wires, HostNames([], "box"), time.time, self.clock)
        self.watch = Watch(target, self.collector)

    async def collect(self) -> Collection:
        return await self.watch.collect(10)

    async def samples(self) -> dict[str, float]:
        """All samples, without the prefix; empty while the cluster is down."""
        collection = await self.collect()
        found = values(collection.families) if collection.up and not collection.error else {}
        return {line.removeprefix("dask_cluster_"): value for line, value in found.items()}

    async def until(self, what: str, timeout: float = 30, **wanted: Any) -> dict[str, float]:
        """The first collection that has these values, by sample name; a function judges instead of a value."""

        async def there() -> dict[str, float] | None:
            found = await self.samples()
            return found if all(_holds(found, name, value) for name, value in wanted.items()) else None

        return await until(there, what, timeout)  # type: ignore[return-value,arg-type]

    async def workers(self, count: int) -> dict[str, float]:
        return await self.until(f"{count} workers", running=count)


def _holds(found: dict[str, float], name: str, value: Any) -> bool:
    known = {
        "running": 'workers{status="running"}',
        "unexpected": UNEXPECTED,
        "retired": RETIRED,
        "processing": "processing_tasks",
        "executing": 'tasks{state="executing"}',
    }.get(name, name)
    if known not in found:
        return False
    return bool(value(found[known])) if callable(value) else found[known] == value


@asynccontextmanager
async def watched(cluster: Cluster, **more: Any) -> AsyncIterator[Watched]:
    look = Watched(cluster.address, **more)
    try:
        await until(_up(look), "the scheduler answers")
        yield look
    finally:
        await look.watch.close()
        await look.wires.close()


def _up(look: Watched) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        collection = await look.collect()
        return collection.up and collection.error is None

    return answers


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    asked: str = request.param
    return asked


def tells_all(version: str) -> bool:
    return (parse_version(version) or (0, 0, 0)) >= TELLS_ALL


async def test_workers_that_come_are_retired_and_are_killed(version: str, tmp_path: Path) -> None:
    async with Cluster(version, tmp_path) as cluster, watched(cluster) as look:
        found = await look.workers(0)
        assert found["worker_additions"] == found[UNEXPECTED] == found[RETIRED] == 0
        assert f'version="{version}"' in next(line for line in found if line.startswith("info{"))
        cluster.start_worker("alpha", threads=2)
        cluster.start_worker("beta")
        cluster.start_worker("gamma", nanny=False)
        found = await look.workers(3)
        assert found["worker_additions"] == 3
        assert found["threads"] == 4
        assert found["memory_limit_bytes"] == 1.2e9
        assert found['worker_threads{host="box",worker="alpha"}'] == 2
        assert found['worker_nanny_present{host="box",worker="alpha"}'] == 1
        assert found['worker_nanny_present{host="box",worker="gamma"}'] == 0
        assert found["native_metrics_available"] == 1

        await cluster.do("quick", count=10)
        await cluster.do("hold", worker="gamma", count=3, size=50_000, only_there=True)
        rss = _rss(await cluster.do("pid", worker="alpha"))
        found = await look.until(
            "results are held",
            **{
                'worker_memory_managed_bytes{host="box",worker="gamma"}': lambda value: value >= 150_000,
                'worker_memory_rss_bytes{host="box",worker="alpha"}': lambda value: abs(value / rss - 1) < 0.3,
            },
        )
        await _every_endpoint_answers(look, workers={"alpha", "beta", "gamma"})

        await cluster.do("long", worker="gamma", seconds=300, count=2, only_there=True)
        await look.until("two tasks are given", processing=2)
        look.clock.now += 1000
        found = await look.samples()
        assert found['worker_oldest_processing_task_seconds{host="box",worker="gamma"}'] >= 1000
        assert found['worker_oldest_processing_task_seconds{host="box",worker="beta"}'] == 0

        assert await cluster.do("retire", names=["beta"]) == 1
        found = await look.until("beta is retired", retired=1, running=2)
        assert found[UNEXPECTED] == 0

        os.kill(cluster.workers["gamma"].pid, signal.SIGKILL)
        found = await look.until("gamma is lost", unexpected=1, running=1)
        assert found[RETIRED] == 1
        assert found["worker_additions"] == 3
        assert found['worker_removal_processing_tasks{expected="false"}'] == 2
        assert found.get('worker_removal_lost_results{kind="computed"}') == (3 if tells_all(version) else None)
        assert found['event_window_overflows{topic="all"}'] == 0
        await _every_endpoint_answers(look, workers={"alpha"})
        _assert_clean(await look.collect())
        _assert_nothing_logged(cluster)


async def test_worker_that_takes_too_much_memory(version: str, tmp_path: Path) -> None:
    settings = {"SCHEDULER__ALLOWED_FAILURES": "0"}  # the task is given up after the first kill
    async with Cluster(version, tmp_path, **settings) as cluster, watched(cluster) as look:
        cluster.start_worker("alpha", memory="300MB")
        await look.workers(1)
        await cluster.do("hog", worker="alpha", megabytes=400)
        found = await look.until("alpha is back", timeout=60, unexpected=1, running=1, worker_additions=2)
        if tells_all(version):
            found = await look.until("the nanny says why", worker_memory_restarts=1)
        else:
            assert "worker_memory_restarts" not in found
        assert found['worker_removal_processing_tasks{expected="false"}'] == 1


async def test_worker_that_stops_without_a_word(tmp_path: Path) -> None:
    settings = {"SCHEDULER__WORKER_TTL": "2s"}
    async with Cluster("2026.8.0", tmp_path, **settings) as cluster, watched(cluster) as look:
        cluster.start_worker("alpha", nanny=False)
        await look.workers(1)
        os.kill(cluster.workers["alpha"].pid, signal.SIGSTOP)
        found = await look.until("its heartbeat is missed", worker_heartbeat_timeouts=1, unexpected=1)
        assert found['workers{status="running"}'] == 0


async def test_scheduler_that_restarts(version: str, tmp_path: Path) -> None:
    async with Cluster(version, tmp_path) as cluster, watched(cluster) as look:
        cluster.start_worker("alpha")
        before = await look.workers(1)
        cluster.kill_scheduler()

        async def down() -> Collection | None:
            collection = await look.collect()
            return None if collection.up else collection

        gone = await until(down, "the scheduler is down")
        assert gone is not None
        assert gone.outcomes["identity"].error is not None
        assert gone.outcomes["identity"].error.reason in (Reason.REFUSED, Reason.CONNECT)
        left = values(gone.families)
        assert left["dask_cluster_worker_additions"] == 1
        assert left["dask_cluster_up"] == 0
        assert not any(line.startswith("dask_cluster_workers") for line in left)
        assert {endpoint.labels.get("worker") for endpoint in look.collector.native_endpoints()} == {None, "alpha"}
        cluster.start_scheduler()
        cluster.start_worker("beta")
        await until(_up(look), "the scheduler is back")
        after = await look.until("beta joined", **{'worker_threads{host="box",worker="beta"}': 1})
        there = sum(count for line, count in after.items() if line.startswith("workers{"))  # and alpha if it came back
        assert after["worker_additions"] == 1 + there
        assert after["start_time_seconds"] > before["start_time_seconds"]
        assert after['event_window_overflows{topic="all"}'] == 0


async def test_scheduler_that_hangs(version: str, tmp_path: Path) -> None:
    async with Cluster(version, tmp_path) as cluster, watched(cluster, timeout="500ms") as look:
        cluster.start_worker("alpha", nanny=False)
        await look.workers(1)
        cluster.signal_scheduler(signal.SIGSTOP)
        for _ in range(3):
            error = (await look.collect()).outcomes["identity"].error
            assert error is not None
            assert error.reason is Reason.TIMEOUT
        cluster.signal_scheduler(signal.SIGCONT)
        found = await look.workers(1)
        assert found["worker_additions"] == 1
        assert found[UNEXPECTED] == found['event_window_overflows{topic="all"}'] == 0


async def test_mutual_tls(version: str, tmp_path: Path) -> None:
    authority = Authority("cluster")
    ca = authority.write_ca(tmp_path)
    cert, key = authority.write_pair(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    stranger = Authority("stranger")
    files = {"ca": ca, "cert": cert, "key": key}
    async with (
        Cluster(version, tmp_path, tls=files) as cluster,
        watched(cluster, ca_file=ca, cert_file=cert, key_file=key) as look,
    ):
        cluster.start_worker("alpha")
        await look.workers(1)
        strange_cert, strange_key = stranger.write_pair(other)
        for refused in (
            {"ca_file": ca},
            {"ca_file": stranger.write_ca(other), "cert_file": cert, "key_file": key},
            {"ca_file": ca, "cert_file": strange_cert, "key_file": strange_key},
        ):
            bad = Watched(cluster.address, **refused)
            error = (await bad.collect()).outcomes["identity"].error
            assert error is not None
            assert error.reason in (Reason.TLS, Reason.CONNECT), refused
            await bad.watch.close()
            await bad.wires.close()
        plain = Watched(cluster.address.replace("tls:", "tcp:"))
        assert not (await plain.collect()).up
        await plain.watch.close()
        await plain.wires.close()
        assert (await look.collect()).up


def _rss(pid: int) -> float:
    """What the system itself says a process takes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


async def _every_endpoint_answers(look: Watched, workers: set[str]) -> None:
    endpoints = look.collector.native_endpoints()
    assert {endpoint.labels["worker"] for endpoint in endpoints[1:]} == workers
    for endpoint in endpoints:
        client = HttpClient(f"{endpoint.scheme}://{endpoint.address}", TlsFiles())
        answer = await client.ask(endpoint.path)
        assert answer.status == 200
        assert (b"\ndask_worker_threads" if "worker" in endpoint.labels else b"\ndask_scheduler_workers") in answer.body
        await client.close()


def _assert_clean(collection: Collection) -> None:
    text = encode(collection.families, openmetrics=False)
    assert_parses(text, encode(collection.families, openmetrics=True) + "# EOF\n")
    lint(text)


def _assert_nothing_logged(cluster: Cluster) -> None:
    """Our questions leave no trace in the scheduler's log."""
    log = cluster.log_of("scheduler")
    for trouble in ("No handler", "Exception while handling", "Exception while reading", "Traceback"):
        assert trouble not in log, log[-3000:]
