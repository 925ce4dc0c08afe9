"""All three systems at once: rendered configuration, real exporter, real Prometheus, asserted by PromQL."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from provisioning.config.load import load
from provisioning.render import render
from provisioning.render.places import Places
from tests.ports import free_port
from tests.real.dask_cluster import VERSIONS, Cluster, until
from tests.real.ollama_server import OllamaServer
from tests.real.openwebui_server import running as running_openwebui
from tests.tools import tool

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]
FOLLOWED = 45.0  # seconds within which a new worker is scraped without anybody touching a file


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, address: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://{address}", timeout=10)

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The result vector; empty also while Prometheus is still starting."""
        try:
            answer = await self._http.get("/api/v1/query", params={"query": query})
        except httpx.TransportError:
            return []
        if answer.status_code == 503:
            return []
        assert answer.status_code == 200, answer.text
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    async def true(self, query: str, timeout: float = 60) -> list[dict[str, Any]]:
        return await until(lambda: self.ask(query), query, timeout)

    async def close(self) -> None:
        await self._http.aclose()


@contextmanager
def process(log: Path, *command: str) -> Iterator[None]:
    with log.open("wb") as out:
        running = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(VERSIONS[-1], tmp_path_factory.mktemp("dask")) as cluster:
        cluster.start_worker("first")
        cluster.start_worker("second")
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(
    cluster: Cluster, ollama_server: OllamaServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    folder = tmp_path_factory.mktemp("stack")
    ollama_server.generate(keep_alive=-1)
    with ExitStack() as stack:
        chat = stack.enter_context(
            running_openwebui(tmp_path_factory.mktemp("chat"), OLLAMA_BASE_URLS=ollama_server.url)
        )
        key = folder / "key"
        key.touch(0o600)
        key.write_text(chat.sign_up("Ana").make_key())
        names = ("exporter", "prometheus", "alertmanager", "node_exporter", "grafana")
        services = {name: f"127.0.0.1:{free_port()}" for name in names}
        file = folder / "cluster-ai.yml"
        targets = {
            "dask": [{"name": "main", "scheduler": cluster.address, "labels": {"rack": "r1"}}],
            "ollama": [{"name": "gpu-1", "url": ollama_server.url}],
            "openwebui": [{"name": "chat", "url": chat.url, "api_key_file": "key"}],
            "hosts": [{"name": "big-box", "addresses": ["127.0.0.1"]}],
        }
        file.write_text(yaml.safe_dump({"name": "lab", "targets": targets, "services": services}))
        places = Places(data=folder, secrets=folder, grafana=False, alertmanager=False, node_exporter=False)
        render(load(file), folder / "rendered", places=places)
        exporter = str(Path(sys.executable).with_name("cluster-ai"))
        stack.enter_context(process(folder / "exporter.log", exporter, "exporter", "--config", str(file)))
        stack.enter_context(
            process(
                folder / "prometheus.log",
                tool("prometheus"),
                f"--config.file={folder / 'rendered' / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={services['prometheus']}",
            )
        )
        asked = Prometheus(services["prometheus"])
        yield asked
        await asked.close()


async def test_real_data_of_all_three_systems_stand_in_prometheus_at_once(prometheus):
    await prometheus.true(
        'dask_cluster_up{target="main"} + on () ollama_up{target="gpu-1"} + on () openwebui_up{target="chat"} == 3'
    )
    await prometheus.true('dask_cluster_workers{status="running",target="main",system="dask",rack="r1"} == 2')
    await prometheus.true('ollama_loaded_model_size_bytes{target="gpu-1",model="tiny:latest"} > 0')
    await prometheus.true('openwebui_users{target="chat",role="admin"} == 1')
    await prometheus.true('openwebui_backend_up{target="chat"} == 1')


async def test_ours_and_dasks_own_series_of_a_worker_join(prometheus):
    query = (
        "sum by (target, worker, host) (dask_worker_memory_bytes)"
        " / on (target, worker, host) dask_cluster_worker_memory_limit_bytes > 0"
    )
    await until(lambda: _workers(prometheus, query, 2), "both workers join", 60)
    [first, second] = await prometheus.ask(query)
    assert {first["metric"]["worker"], second["metric"]["worker"]} == {"first", "second"}
    assert first["metric"]["host"] == "big-box"


async def test_a_worker_that_is_added_is_scraped_and_one_that_is_killed_leaves(prometheus, cluster):
    started = time.monotonic()
    cluster.start_worker("late")
    await prometheus.true('dask_worker_threads{job="native",target="main",worker="late"} == 1', FOLLOWED)
    assert time.monotonic() - started < FOLLOWED
    await prometheus.true('dask_cluster_worker_threads{worker="late"} == 1')
    cluster.workers["late"].terminate()
    await until(lambda: _gone(prometheus, 'up{job="native",worker="late"}'), "the worker leaves discovery", 60)


async def test_every_scrape_works_and_nothing_collides(prometheus):
    assert await prometheus.ask("up == 0") == []
    assert await prometheus.ask('{exported_target!=""} or {exported_worker!=""} or {exported_host!=""}') == []
    assert await prometheus.ask("dask_cluster_collector_success == 0 or ollama_collector_success == 0") == []


async def test_a_scheduler_that_stops_answering_is_down_and_keeps_its_workers_in_discovery(prometheus, cluster):
    cluster.kill_scheduler()
    await prometheus.true('dask_cluster_up{target="main"} == 0')
    await prometheus.true('dask_cluster_collector_success{target="main",collector="identity"} == 0')
    assert {row["metric"]["worker"] for row in await prometheus.ask('up{job="native",worker!=""}')} >= {
        "first",
        "second",
    }
    assert await prometheus.ask('ollama_up{target="gpu-1"} == 1')


async def _workers(prometheus: Prometheus, query: str, count: int) -> bool:
    return len(await prometheus.ask(query)) == count


async def _gone(prometheus: Prometheus, query: str) -> bool:
    return not await prometheus.ask(query)
