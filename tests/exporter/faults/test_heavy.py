"""Answers that take seconds to understand: whoever else asks the exporter something is answered meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgpack
import pytest
import yaml

from exporter.client import json_body
from tests.exporter.faults import servers, systems
from tests.exporter.faults.running import Exporter, exporter
from tests.exporter.faults.test_crowds import dask_crowd, openwebui_crowd
from tests.exporter.faults.test_matrix import Targets, probe, value

pytestmark = pytest.mark.skipif(
    "COVERAGE_PROCESS_CONFIG" in os.environ,
    reason="`make coverage` makes the exporter several times as slow; other tests run the same lines",
)
# Seconds of processor the exporter may use between another question and its answer, which other work of the machine
# does not change. Found: 0.01 to 0.2; with all of it on the event loop, 2 to 20.
PATIENCE = 0.6


def ollama_loaded(count: int) -> dict[str, bytes]:
    """`count` models in memory."""
    like = {"size": 5 << 30, "size_vram": 4 << 30, "expires_at": "2036-11-22T22:29:44.092188729Z", "digest": "d" * 64}
    models = [like | {"name": f"m{number}:latest"} for number in range(count)]
    return {"/api/ps": servers.js({"models": models})}


def ollama_slow(unit: str, cost: int) -> dict[str, bytes]:
    """As many of one thing as are decoded at all, none of them a model."""
    count = int(json_body.MAX_DECODED * 0.95) // cost
    return {"/api/tags": servers.http(f'{{"models":[{",".join([unit] * count)}]}}'.encode())}


def ollama_keys() -> dict[str, bytes]:
    """One map with as many entries as fit."""
    entries = ",".join(f'"{number:x}":1' for number in range(int(json_body.MAX_DECODED * 0.9) // 160))
    return {"/api/tags": servers.http(f"{{{entries}}}".encode())}


def dask_workers(count: int) -> dict[str, bytes]:
    system = systems.Dask()
    dask_crowd(system, count)
    return {name: servers.message(system.replies[name]) for name in ("identity", "processing")}


def dask_tiny_workers() -> dict[str, bytes]:
    """As many as are read, of a few bytes each."""
    like = systems.Dask().replies["identity"]
    return {"identity": servers.message(like | {"workers": {f"tcp://1.1.1.1:{n}": {} for n in range(100_000)}})}


def dask_tasks() -> dict[str, bytes]:
    """A million tasks with one worker."""
    [worker, *_] = systems.Dask().replies["identity"]["workers"]
    return {"processing": servers.message({worker: [f"task-{number}" for number in range(1_000_000)]})}


def dask_events() -> dict[str, bytes]:
    """More events than any scheduler keeps by itself."""
    gone = {"action": "remove-worker", "worker": "", "processing-tasks": {}, "expected": True}
    return {"events-all": servers.message([(float(number), gone) for number in range(290_000)])}


def dask_maps() -> dict[str, bytes]:
    """Empty maps, as many as are decoded at all."""
    count = 3_300_000
    header = msgpack.Packer().pack_array_header(count)
    return {"identity": servers.framed(header + b"\x80" * count)}


CASES: dict[str, tuple[str, Callable[[], dict[str, bytes]]]] = {
    "ollama-60000-loaded": ("ollama", lambda: ollama_loaded(60_000)),
    "ollama-4900-loaded": ("ollama", lambda: ollama_loaded(4_900)),
    "ollama-lists": ("ollama", lambda: ollama_slow("[]", 104)),
    "ollama-numbers": ("ollama", lambda: ollama_slow("1", 40)),
    "ollama-keys": ("ollama", ollama_keys),
    "dask-20000-workers": ("dask", lambda: dask_workers(20_000)),
    "dask-1400-workers": ("dask", lambda: dask_workers(1_400)),
    "dask-tiny-workers": ("dask", dask_tiny_workers),
    "dask-million-tasks": ("dask", dask_tasks),
    "dask-events": ("dask", dask_events),
    "dask-maps": ("dask", dask_maps),
}


async def open_places(stack: AsyncExitStack, folder: Path) -> Targets:
    """A target for each case, and healthy ones."""
    targets = Targets(folder)
    for name, (system, make) in CASES.items():
        absurd = await asyncio.to_thread(make)
        if system == "dask":
            well = systems.Dask()
            hits = await stack.enter_async_context(
                servers.scheduler(lambda asked, a=absurd, w=well: a.get(asked) or w.answer(asked))
            )
        else:
            web = systems.Ollama()
            hits = await stack.enter_async_context(
                servers.web(lambda asked, a=absurd, w=web: a.get(asked) or w.answer(asked))
            )
        targets.add(system, name, f"127.0.0.1:{hits.port}", 30)
    crowd = systems.OpenWebUI()
    openwebui_crowd(crowd, 60_000)
    hits = await stack.enter_async_context(servers.web(crowd.answer))
    targets.add("openwebui", "openwebui-60000-models", f"127.0.0.1:{hits.port}", 30)
    for system, make, serve in (("ollama", systems.Ollama, servers.web), ("dask", systems.Dask, servers.scheduler)):
        hits = await stack.enter_async_context(serve(make().answer))
        targets.add(system, f"well-{system}", f"127.0.0.1:{hits.port}", 30)
    return targets


async def longest_wait(running: asyncio.Task[Any], session: aiohttp.ClientSession, process: Exporter) -> float:
    """The longest that somebody else had to wait, in seconds of the exporter's own processor time."""
    worst = 0.0
    while not running.done():
        for path in ("/-/healthy", "/probe?target=well-ollama", "/probe?target=well-dask"):
            began = process.cpu()
            async with session.get(process.url + path) as answer:
                text = await answer.text()
                assert answer.status == 200
                assert "_up 0.0" not in text
            worst = max(worst, process.cpu() - began)
        await asyncio.sleep(0.005)
    return worst


@pytest.fixture(scope="module")
def waits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, str]]:
    return asyncio.run(measure(tmp_path_factory.mktemp("heavy")))


async def measure(folder: Path) -> dict[str, tuple[float, str]]:
    """By case: the longest wait of somebody else, and the text of a look."""
    found: dict[str, tuple[float, str]] = {}
    async with AsyncExitStack() as stack:
        targets = await open_places(stack, folder)
        process: Exporter = await asyncio.to_thread(stack.enter_context, exporter(folder, targets.of))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for name in (*CASES, "openwebui-60000-models"):
            began = time.monotonic()
            look = asyncio.ensure_future(probe(session, process.url, name))
            wait = await longest_wait(look, session, process)
            status, text = await look
            assert status == 200
            found[name] = (wait, text)
            took = time.monotonic() - began
            print(f"{name}: {took:.1f} s, others waited {wait * 1000:.0f} ms of it at most")  # noqa: T201 -- the figures of a run
        found["reload"] = (await reload_wait(folder, process, session, targets), "")
        assert "Traceback" not in process.log()
    return found


async def reload_wait(folder: Path, process: Exporter, session: aiohttp.ClientSession, targets: Targets) -> float:
    """While a file with as many targets as are read is read again."""
    crowd = [{"name": f"t{number}", "url": f"http://127.0.0.1:1/{number}"} for number in range(9_000)]
    more = targets.of | {"ollama": [*targets.of["ollama"], *crowd]}
    (folder / "cluster-ai.yml").write_text(yaml.safe_dump({"targets": more}))

    async def reload() -> None:
        async with session.post(f"{process.url}/-/reload") as answer:
            assert answer.status == 200, await answer.text()

    wait = await longest_wait(asyncio.ensure_future(reload()), session, process)
    print(f"reload: others waited {wait * 1000:.0f} ms at most")  # noqa: T201 -- the figures of a run
    return wait


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [*CASES, "openwebui-60000-models", "reload"])
def test_others_are_answered_meanwhile(waits: dict[str, tuple[float, str]], name: str) -> None:
    assert waits[name][0] < PATIENCE


def test_what_is_understood_of_it(waits: dict[str, tuple[float, str]]) -> None:
    """The work was really done, or refused with its reason."""
    texts = {name: text for name, (_, text) in waits.items()}
    assert value(texts["ollama-60000-loaded"], "ollama_models_loaded") == 60_000
    assert value(texts["ollama-60000-loaded"], "ollama_series_dropped") >= 60_000
    assert texts["ollama-4900-loaded"].count("\nollama_loaded_model_size_bytes{") == 4_900
    for name in ("ollama-lists", "ollama-numbers"):
        assert value(texts[name], 'ollama_collector_errors_total{reason="too_large"}') == 1
    assert value(texts["ollama-keys"], 'ollama_collector_errors_total{reason="unexpected_content"}') > 0
    assert value(texts["dask-20000-workers"], 'dask_cluster_workers{status="running"}') == 20_000
    assert texts["dask-1400-workers"].count("\ndask_cluster_worker_memory_rss_bytes{") == 1_400
    assert value(texts["dask-tiny-workers"], 'dask_cluster_workers{status="other"}') == 100_000
    assert value(texts["dask-million-tasks"], "dask_cluster_processing_tasks") == 1_000_000
    assert value(texts["dask-events"], "dask_cluster_up") == 1
    assert value(texts["dask-maps"], 'dask_cluster_collector_errors_total{reason="unexpected_content"}') > 0
    assert value(texts["openwebui-60000-models"], 'openwebui_model_messages{model="(other)"}') > 250_000
