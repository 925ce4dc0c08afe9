"""Every way to fail at every system, over real sockets, at an exporter that is a process of its own.

All that are not heavy fail at the same time, beside healthy systems that must not notice; the heavy ones follow one by
one, so that what each costs in memory can be told.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.collectors import registry
from exporter.errors import Reason
from provisioning.config.targets import SYSTEMS
from tests.exporter.faults import servers, systems, ways
from tests.exporter.faults.running import TIMEOUT_HEADER, Exporter, exporter

TIMEOUT = 1.5  # seconds a target that fails is given
PATIENT = 20.0  # seconds for the targets that answer slowly or much
SLACK = 10.0  # seconds more that the answer may take on a machine that does other things too
GROWTH = 20.0  # MiB more than before that a heavy answer may take, at any time
WEB = "dask_web"  # the web server of a scheduler that is well
ROWS = [(system, way) for system in ways.MATRIX for way in (*ways.WAYS, *ways.MORE.get(system, ()))]
ROWS += [(WEB, way) for way in ways.WAYS]
SLOW_BUT_WELL = ("slow_answer", "older_greeting", "dies_between_answers", "not_a_number", "absurd_numbers")
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@dataclass
class Seen:
    """What one probe gave."""

    status: int
    text: str
    openmetrics: str
    seconds: float
    timeout: float
    # Of heavy ways, MiB above what the exporter held before: the most at any time, and what is left.
    peak: float = 0.0
    left: float = 0.0


@dataclass
class Outcome:
    """What the whole matrix gave."""

    seen: dict[tuple[str, str], Seen]
    healthy: dict[str, list[str]]
    log: str
    canary: int


def name_of(system: str, way: str) -> str:
    return f"{system}-{way}".replace("_", "-")


def timeout_of(way: str) -> float:
    return PATIENT if way in (*ways.HEAVY, *SLOW_BUT_WELL) else TIMEOUT


def secret_in(folder: Path) -> str:
    file = folder / "key"
    file.write_text("sk-do-not-tell")
    file.chmod(0o600)
    return str(file)


class Targets:
    """Targets of cluster-ai.yml as places are opened for them."""

    def __init__(self, folder: Path) -> None:
        self.of: dict[str, list[dict[str, Any]]] = {system: [] for system in SYSTEMS}
        self._key = secret_in(folder)

    def add(self, system: str, name: str, place: str, timeout: float, dashboard: str | None = None) -> None:
        entry: dict[str, Any] = {"name": name, "timeout": f"{timeout}s"}
        if system == "dask":
            entry |= {"scheduler": f"tcp://{place}", "dashboard": f"http://{dashboard or '127.0.0.1:1'}"}
        else:
            entry |= {"url": f"http://{place}"}
            entry["api_key_file" if system == "openwebui" else "bearer_token_file"] = self._key
        self.of[system].append(entry)


async def probe(session: aiohttp.ClientSession, url: str, name: str, accept: str = "text/plain") -> tuple[int, str]:
    headers = {TIMEOUT_HEADER: "60", "Accept": accept}
    async with session.get(f"{url}/probe", params={"target": name}, headers=headers) as response:
        return response.status, await response.text()


async def look(session: aiohttp.ClientSession, url: str, system: str, way: str) -> Seen:
    """The first probe in Prometheus's text, the second in OpenMetrics."""
    name = name_of(system, way)
    started = time.monotonic()
    status, text = await probe(session, url, name)
    seconds = time.monotonic() - started
    _, openmetrics = await probe(session, url, name, OPENMETRICS)
    return Seen(status, text, openmetrics, seconds, timeout_of(way))


async def open_places(stack: AsyncExitStack, targets: Targets, canary: str) -> None:
    well = await stack.enter_async_context(servers.scheduler(systems.Dask().answer))
    for system, cases in [*((system, make(canary)) for system, make in ways.MATRIX.items()), (WEB, None)]:
        for way, case in (cases or ways.dask_web(canary)).items():
            place = await stack.enter_async_context(case.place())
            if system == WEB:
                targets.add("dask", name_of(system, way), f"127.0.0.1:{well.port}", timeout_of(way), dashboard=place)
            else:
                targets.add(system, name_of(system, way), place, timeout_of(way))
    web = await stack.enter_async_context(servers.web(systems.Dask().page))
    targets.add("dask", "healthy-dask", f"127.0.0.1:{well.port}", PATIENT, dashboard=f"127.0.0.1:{web.port}")
    for system, healthy in (("ollama", systems.Ollama()), ("openwebui", systems.OpenWebUI())):
        hits = await stack.enter_async_context(servers.web(healthy.answer))
        targets.add(system, f"healthy-{system}", f"127.0.0.1:{hits.port}", PATIENT)


async def healthy_while(running: asyncio.Task[Any], session: aiohttp.ClientSession, url: str) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {system: [] for system in SYSTEMS}
    while not running.done():
        for system, found in texts.items():
            found.append((await probe(session, url, f"healthy-{system}"))[1])
        await asyncio.wait({running}, timeout=0.3)
    return texts


async def run(folder: Path) -> Outcome:
    async with AsyncExitStack() as stack:
        canary = await stack.enter_async_context(servers.web(lambda _: servers.js({})))
        targets = Targets(folder)
        await open_places(stack, targets, f"127.0.0.1:{canary.port}")
        process: Exporter = await asyncio.to_thread(
            stack.enter_context, exporter(folder, targets.of, "--web.max-requests", "0")
        )
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        light = [row for row in ROWS if row[1] not in ways.HEAVY]
        looks = asyncio.gather(*(look(session, process.url, *row) for row in light))
        task = asyncio.ensure_future(looks)
        healthy = await healthy_while(task, session, process.url)
        seen = dict(zip(light, await task, strict=True))
        for row in ROWS:
            if row[1] in ways.HEAVY:
                before = process.rss()
                process.forget_peak()
                seen[row] = await look(session, process.url, *row)
                seen[row].peak, seen[row].left = process.peak() - before, process.rss() - before
        return Outcome(seen, healthy, process.log(), canary.connections)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(run(tmp_path_factory.mktemp("matrix")))


def case_of(system: str, way: str) -> ways.Case:
    return (ways.dask_web if system == WEB else ways.MATRIX[system])("127.0.0.1:1")[way]


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"{series} is missing"
    return float(found[1])


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("system", "way"), ROWS)
def test_a_system_that_fails(outcome: Outcome, system: str, way: str) -> None:
    seen, case = outcome.seen[system, way], case_of(system, way)
    prefix = registry()["dask" if system == WEB else system].prefix
    assert seen.status == 200
    assert seen.seconds <= seen.timeout + SLACK
    assert value(seen.text, f"{prefix}_up") == case.up
    failed = {
        reason for reason in Reason if value(seen.text, f'{prefix}_collector_errors_total{{reason="{reason}"}}') > 0
    }
    assert failed == ({case.reason} if case.reason else set())
    assert "Traceback" not in seen.text + seen.openmetrics
    assert "sk-do-not-tell" not in seen.text + seen.openmetrics
    assert not re.search(case.forbidden, seen.text, re.MULTILINE)
    assert list(parse_text(seen.text))
    assert list(parse_openmetrics(seen.openmetrics))


@pytest.mark.parametrize(("system", "way"), [row for row in ROWS if row[1] in ways.HEAVY])
def test_what_is_too_much_is_not_held_in_memory(outcome: Outcome, system: str, way: str) -> None:
    seen = outcome.seen[system, way]
    assert seen.left < GROWTH
    assert seen.peak < GROWTH


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_healthy_do_not_notice(outcome: Outcome, system: str) -> None:
    texts = outcome.healthy[system]
    assert len(texts) >= 2
    prefix = registry()[system].prefix
    for text in texts:
        assert value(text, f"{prefix}_up") == 1
        assert not re.search(rf"^{prefix}_collector_success\S* 0.0$", text, re.MULTILINE)


@pytest.mark.parametrize("way", ways.WAYS)
def test_a_scheduler_whose_web_server_fails_keeps_its_series(outcome: Outcome, way: str) -> None:
    text = outcome.seen[WEB, way].openmetrics  # the web server is first asked at the second look
    if "dask_cluster_native_metrics_available" in text:
        assert value(text, "dask_cluster_native_metrics_available") == 0
    else:  # still being waited for
        assert way in ("connect_stall", "read_stall", "drip")
        assert value(text, 'dask_cluster_collector_success{collector="native"}') == 0
    assert "\ndask_cluster_worker_memory_rss_bytes{" in text


def test_a_redirect_is_not_followed(outcome: Outcome) -> None:
    assert outcome.canary == 0


def test_the_log_tells_each_change_and_holds_no_traceback_and_no_secret(outcome: Outcome) -> None:
    assert "is down" in outcome.log
    assert "Traceback" not in outcome.log
    assert "sk-do-not-tell" not in outcome.log
