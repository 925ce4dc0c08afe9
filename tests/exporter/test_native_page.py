"""`/native` and its discovery, over real HTTP: a stand-in dashboard behind an exporter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, unused_port

from exporter.collectors.base import NativeEndpoint
from exporter.fleet import Fleet
from exporter.web import TIMEOUT_HEADER, Exporter
from provisioning.config.load import load
from tests.exporter.fakes import FakeCollector, families

CONFIG = """
targets:
  dask:
    - {name: main, scheduler: "tcp://127.0.0.1:8786", native: filtered, native_prefix_limit: 1, timeout: 2s}
  ollama:
    - {name: gpu-1, url: "http://10.0.0.7:11434"}
"""
PAGE = """\
# TYPE dask_scheduler_tasks_compute_seconds_total counter
dask_scheduler_tasks_compute_seconds_total{task_prefix_name="a"} 1.0
dask_scheduler_tasks_compute_seconds_total{task_prefix_name="b"} 3.0
"""


class FakeDask(FakeCollector):
    system: ClassVar = "dask"
    prefix: ClassVar = "dask_cluster"


class Dashboard:
    """A scheduler's web server: what it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.text = PAGE
        self.status = 200
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def metrics(self, _request: web.Request) -> web.Response:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        return web.Response(text=self.text, status=self.status)


@pytest.fixture
async def dashboard() -> Dashboard:
    return Dashboard()


@pytest.fixture
async def server(dashboard: Dashboard) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_get("/metrics", dashboard.metrics)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(CONFIG)
    return Fleet(file, load(file), {"dask": FakeDask, "ollama": FakeCollector})


@pytest.fixture
async def client(fleet: Fleet, server: TestServer) -> AsyncIterator[TestClient]:
    async def version():
        return families("good")

    collector = fleet.watches["main"].collector
    assert isinstance(collector, FakeDask)
    collector.script = {"version": version}
    collector.endpoints = [
        NativeEndpoint(f"127.0.0.1:{server.port}", {"host": "h"}, scheduler=True),
        NativeEndpoint("10.0.0.9:40001", {"worker": "w", "host": "h"}),
    ]
    async with TestClient(TestServer(Exporter(fleet).application())) as client:
        yield client
    await fleet.close()


async def test_the_page_is_the_schedulers_with_the_cap(client):
    response = await client.get("/native", params={"target": "main"})
    text = await response.text()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'seconds_total{task_prefix_name="b"} 3.0\n' in text
    assert 'seconds_total{task_prefix_name="_other"} 0.0\n' in text
    assert 'task_prefix_name="a"' not in text
    assert "dask_cluster_native_prefixes_dropped 1.0\n" in text


async def test_the_sums_go_on_from_one_scrape_to_the_next(client, dashboard):
    await client.get("/native", params={"target": "main"})
    dashboard.text = PAGE.replace("1.0", "1.5")
    text = await (await client.get("/native", params={"target": "main"})).text()
    assert 'seconds_total{task_prefix_name="_other"} 0.5\n' in text


async def test_openmetrics_keeps_its_content_type(client, dashboard):
    dashboard.text = (
        PAGE.replace("# TYPE dask_scheduler_tasks_compute_seconds_total", "# TYPE dask_scheduler_tasks_compute_seconds")
        + "# EOF\n"
    )
    response = await client.get("/native", params={"target": "main"})
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert (await response.text()).endswith("# EOF\n")


async def test_those_who_ask_at_once_share_one_question_and_one_who_leaves_takes_nothing_away(client, fleet, dashboard):
    dashboard.may_answer.clear()
    asking = [asyncio.create_task(fleet.native_pages["main"].get(5.0)) for _ in range(5)]
    await dashboard.was_asked.wait()
    asking.pop(0).cancel()
    dashboard.may_answer.set()
    assert len({id(page) for page in await asyncio.gather(*asking)}) == 1
    assert dashboard.asked == 1


@pytest.mark.parametrize(
    ("status", "text", "word"),
    [
        (200, "# Prometheus metrics are not available", "install prometheus_client"),
        (404, "", "status 404"),
        (200, "<html>", "no metrics page"),
    ],
)
async def test_a_page_that_is_not_there_is_502_with_a_word(client, dashboard, status, text, word):
    dashboard.status, dashboard.text = status, text
    response = await client.get("/native", params={"target": "main"})
    assert response.status == 502
    assert word in await response.text()


async def test_a_scheduler_that_does_not_answer_is_502_in_time(client, dashboard):
    dashboard.may_answer.clear()
    async with asyncio.timeout(5):
        response = await client.get("/native", params={"target": "main"}, headers={TIMEOUT_HEADER: "1"})
    assert response.status == 502
    assert "no answer within 0.5 s" in await response.text()


async def test_a_dashboard_that_refuses_or_is_not_known_is_502(client, fleet):
    collector = fleet.watches["main"].collector
    collector.endpoints = [NativeEndpoint(f"127.0.0.1:{unused_port()}", scheduler=True)]
    response = await client.get("/native", params={"target": "main"})
    assert (response.status, "refuses connections" in await response.text()) == (502, True)
    collector.endpoints = []
    response = await client.get("/native", params={"target": "main"})
    assert (response.status, "set `dashboard`" in await response.text()) == (502, True)


@pytest.mark.parametrize(("target", "word"), [("nope", "No target is called"), ("gpu-1", "no Dask cluster")])
async def test_only_a_configured_dask_cluster_has_one(client, target, word):
    response = await client.get("/native", params={"target": target})
    assert response.status == 400
    assert word in await response.text()


async def test_discovery_gives_the_exporter_for_a_filtered_scheduler_and_the_workers_as_they_are(client, server):
    response = await client.get("/sd", params={"kind": "filtered"}, headers={"Host": "exporter.lab:9860"})
    [scheduler] = await response.json()
    [worker] = await (await client.get("/sd", params={"kind": "native"})).json()
    assert scheduler == {
        "targets": ["exporter.lab:9860"],
        "labels": {
            "host": "h",
            "target": "main",
            "system": "dask",
            "instance": f"127.0.0.1:{server.port}",
            "__metrics_path__": "/native",
            "__param_target": "main",
            "__scheme__": "http",
        },
    }
    assert worker["targets"] == ["10.0.0.9:40001"]
    assert "__param_target" not in worker["labels"]


async def test_discovery_is_direct_unless_asked_for(client, fleet, server):
    fleet.file.write_text(CONFIG.replace("native: filtered, ", ""))
    endpoints = fleet.watches["main"].collector.endpoints
    await fleet.reload()
    fleet.watches["main"].collector.endpoints = endpoints
    scheduler, _ = await (await client.get("/sd", params={"kind": "native"})).json()
    assert scheduler["targets"] == [f"127.0.0.1:{server.port}"]
    assert scheduler["labels"]["__metrics_path__"] == "/metrics"
    assert await (await client.get("/sd", params={"kind": "filtered"})).json() == []


async def test_a_reload_that_changes_the_target_starts_its_sums_anew(client, fleet, server):
    page = fleet.native_pages["main"]
    await fleet.reload()
    assert fleet.native_pages["main"] is page
    fleet.file.write_text(CONFIG.replace("limit: 1", "limit: 5"))
    await fleet.reload()
    assert fleet.native_pages["main"] is not page
    fleet.file.write_text("targets: {}\n")
    await fleet.reload()
    assert fleet.native_pages == {}
