"""The Ollama collector against a real server, held against what the server itself says and what we did to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.client.wires import TargetWires
from exporter.collectors.ollama import OllamaCollector
from exporter.scrape import Collection, Watch
from provisioning.config.hosts import HostNames
from provisioning.config.targets import OllamaTarget
from tests.real.ollama_server import TINY, OllamaServer, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
MODEL = f"{TINY}:latest"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    """A server of this module's own, which serves one request at a time."""
    with running(tmp_path_factory.mktemp("ollama"), OLLAMA_NUM_PARALLEL="1") as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_loaded(server: OllamaServer) -> None:
    for name in server.loaded():
        server.unload(name)


class Monitor:
    """A watch on the server, and what its last look showed."""

    def __init__(self, server: OllamaServer, **settings: Any) -> None:
        probe = settings.pop("probe", None)
        target = OllamaTarget(name="real", url=server.url, **settings)
        if probe is not None:  # shorter pauses than the configuration allows
            wanted = target.generation_probe.model_copy(update={"enabled": True} | probe)
            target = target.model_copy(update={"generation_probe": wanted})
        self.wires = TargetWires()
        self.collector = OllamaCollector.build(target, self.wires, HostNames([], "here"), time.time)
        self.watch = Watch(target, self.collector)
        self.last: Collection | None = None

    async def close(self) -> None:
        await self.watch.close()
        await self.wires.close()

    async def look(self) -> Monitor:
        self.last = await self.watch.collect(10)
        return self

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of a metric by its label values in the order of label names."""
        assert self.last is not None
        return {
            tuple(value for _, value in sorted(labels.pairs)): value
            for family in self.last.families
            if family.name == name
            for labels, value in family.samples
        }

    def value(self, name: str, *labels: str) -> float | None:
        return self.all(name).get(labels)

    async def probed(self, result: str, seconds: float = 30) -> float:
        """Look until a probe had this result; the longest look it took."""
        slowest, end = 0.0, time.monotonic() + seconds
        before = self.value("ollama_generation_probes", result) if self.last else 0.0
        while True:
            await self.look()
            assert self.last is not None
            slowest = max(slowest, self.last.seconds)
            if (self.value("ollama_generation_probes", result) or 0) > (before or 0):
                return slowest
            assert time.monotonic() < end, f"no {result}, but {self.all('ollama_generation_probes')}"
            await asyncio.sleep(0.1)

    async def probing(self) -> float:
        """Look until a probe is under way; the moment it began (monotonic)."""
        assert self.collector._probes is not None
        while not self.collector._probes._tasks:
            await self.look()
            await asyncio.sleep(0.02)
        return time.monotonic()


@pytest.fixture
async def monitor(server: OllamaServer) -> AsyncIterator[Callable[..., Monitor]]:
    made: list[Monitor] = []

    def make(**settings: Any) -> Monitor:
        made.append(Monitor(server, **settings))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@contextlib.contextmanager
def long_generation(server: OllamaServer) -> Iterator[Callable[[], None]]:
    """Somebody else's generation of many seconds that has begun; gives a function that hangs up."""
    begun, sockets = threading.Event(), []

    def read() -> None:
        body = {"model": TINY, "prompt": "a", "raw": True, "options": {"num_predict": 20_000}}
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.stream("POST", f"{server.url}/api/generate", json=body, timeout=60, trust_env=False) as answer,
        ):
            sockets.append(answer.extensions["network_stream"].get_extra_info("socket"))
            for _ in answer.iter_raw():
                begun.set()

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            sockets[0].shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert begun.wait(20)
        yield hang_up
    finally:
        if sockets:
            hang_up()
        thread.join(30)


@contextlib.contextmanager
def frozen(server: OllamaServer) -> Iterator[None]:
    """The model's runner stands still: a hang behind ports that are open."""
    (runner,) = server.runners()
    os.kill(runner, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # Ollama may have killed it
            os.kill(runner, signal.SIGCONT)


def expiry(server: OllamaServer) -> float:
    return datetime.fromisoformat(server.loaded()[TINY]["expires_at"]).timestamp()


async def test_installed_models(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    server.create("second")
    mine = monitor()
    await mine.look()
    await mine.look()
    truth = {model["name"]: model for model in server.http.get("/api/tags").json()["models"]}
    assert truth.keys() == {MODEL, "second:latest"}
    assert mine.value("ollama_up") == 1
    assert mine.value("ollama_info", server.http.get("/api/version").json()["version"]) == 1
    assert mine.value("ollama_models_installed", "local") == 2
    assert mine.value("ollama_models_installed", "cloud") == 0
    assert mine.all("ollama_model_size_bytes") == {(name,): model["size"] for name, model in truth.items()}
    modified = mine.value("ollama_model_modified_timestamp_seconds", MODEL)
    assert modified is not None
    assert time.time() - 120 < modified < time.time()
    assert (
        mine.value("ollama_model_info", "llama", "gguf", "local", MODEL, truth[MODEL]["details"]["parameter_size"]) == 1
    )
    assert mine.value("ollama_model_capability", "completion", MODEL) == 1
    assert mine.value("ollama_models_not_described") == 0
    assert mine.value("ollama_native_metrics") == 0
    server.delete("second")
    await mine.look()
    assert ("second:latest",) not in mine.all("ollama_model_size_bytes")
    assert ("second:latest",) not in mine.all("ollama_model_loads")


async def test_load_expiry_and_unload(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    mine = monitor(must_be_loaded=[TINY, "absent:7b"])
    await mine.look()
    assert mine.value("ollama_models_loaded") == 0
    assert mine.value("ollama_model_loads", MODEL) == 0
    assert mine.all("ollama_model_required_loaded") == {(MODEL,): 0, ("absent:7b",): 0}
    server.generate(keep_alive="7m")
    asked = time.time()
    await mine.look()
    truth = server.loaded()[TINY]
    assert mine.value("ollama_models_loaded") == 1
    assert mine.value("ollama_loaded_model_size_bytes", MODEL) == truth["size"]
    assert mine.value("ollama_loaded_model_vram_bytes", MODEL) == truth["size_vram"]
    assert mine.value("ollama_loaded_model_cpu_bytes", MODEL) == truth["size"] - truth["size_vram"]
    assert mine.value("ollama_loaded_model_context_tokens", MODEL) == truth.get("context_length")
    shown = mine.value("ollama_loaded_model_expires_timestamp_seconds", MODEL)
    assert shown == expiry(server) == pytest.approx(asked + 420, abs=2)
    assert mine.value("ollama_loaded_model_kept_forever", MODEL) == 0
    assert mine.value("ollama_model_required_loaded", MODEL) == 1
    assert (mine.value("ollama_model_loads", MODEL), mine.value("ollama_model_unloads", MODEL)) == (1, 0)
    server.unload()
    await mine.look()
    assert (mine.value("ollama_model_loads", MODEL), mine.value("ollama_model_unloads", MODEL)) == (1, 1)
    assert mine.all("ollama_loaded_model_size_bytes") == {}
    assert mine.value("ollama_model_required_loaded", MODEL) == 0


async def test_kept_for_ever(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    server.generate(keep_alive=-1)
    mine = await monitor().look()
    assert mine.value("ollama_loaded_model_kept_forever", MODEL) == 1
    assert mine.all("ollama_loaded_model_expires_timestamp_seconds") == {}
    assert mine.value("ollama_model_loads", MODEL) == 0, "loaded before the first look"


async def test_probes_do_not_move_the_expiry(
    server: OllamaServer, monitor: Callable[..., Monitor], capsys: pytest.CaptureFixture[str]
) -> None:
    server.generate(keep_alive="120s")
    due = expiry(server)
    mine = monitor(probe={"every": 0.5, "timeout": 5})
    moved = 0.0
    for _ in range(8):
        await mine.probed("ok")
        moved = max(moved, abs(expiry(server) - due))
    with capsys.disabled():
        print(f"\n8 probes moved the expiry by at most {moved * 1000:.0f} ms")  # noqa: T201
    assert moved < 0.5
    assert mine.value("ollama_generation_probe_result", MODEL, "ok") == 1
    assert mine.value("ollama_generation_probe_result", MODEL, "hung") == 0
    took = mine.value("ollama_generation_probe_duration_seconds", MODEL)
    assert took is not None
    assert took < 5
    assert (mine.value("ollama_model_loads", MODEL), mine.value("ollama_model_unloads", MODEL)) == (0, 0)


async def test_what_clients_inherit_from_a_probe_is_given_back(
    server: OllamaServer, monitor: Callable[..., Monitor]
) -> None:
    mine = monitor(probe={"every": 11, "timeout": 2})
    await mine.look()
    server.generate(keep_alive="40s")
    await mine.probed("ok")  # the model came between two looks, so its keep-alive is known
    await asyncio.sleep(12)
    await mine.probed("ok")
    assert server.generate()["done"]
    ended = time.time()
    assert expiry(server) == pytest.approx(ended + 28, abs=2), "Ollama hands on the keep-alive of the probe"
    for _ in range(100):
        await mine.look()
        if expiry(server) > ended + 38:
            break
        await asyncio.sleep(0.05)
    assert expiry(server) == pytest.approx(ended + 40, abs=1)


async def test_kept_for_ever_outlives_probes(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    server.generate(keep_alive=-1)
    mine = monitor(probe={"every": 0.5, "timeout": 5})
    await mine.probed("ok")
    await mine.probed("ok")
    assert mine.value("ollama_loaded_model_kept_forever", MODEL) == 1


async def test_a_long_generation_is_busy_not_hung(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    server.generate()
    mine = monitor(probe={"every": 0.5, "timeout": 2})
    with long_generation(server):
        slowest = await mine.probed("busy")
    assert slowest < 2
    assert mine.value("ollama_generation_probes", "hung") == 0
    await mine.probed("ok")


async def test_a_hang_in_mid_generation_is_found(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    server.generate()
    mine = monitor(probe={"every": 0.5, "timeout": 4})
    await mine.probed("ok")
    with long_generation(server) as hang_up:
        started = await mine.probing()
        await asyncio.sleep(0.5)  # the probe now waits in Ollama's queue
        with frozen(server):
            hang_up()
            slowest = await mine.probed("hung")
            assert time.monotonic() - started < 10, "before Ollama itself notices"
            await mine.watch.close()
    assert slowest < 2, "scrapes do not wait for the probe"
    assert mine.value("ollama_generation_probes", "busy") == 0


async def test_a_frozen_runner_is_found(server: OllamaServer, monitor: Callable[..., Monitor]) -> None:
    server.generate()
    mine = monitor(probe={"every": 3600, "timeout": 3})
    with frozen(server):
        await mine.probed("hung")
    assert TINY not in server.loaded(), "Ollama gave the runner ten seconds and threw it out"


async def test_a_frozen_runner_that_ollama_replaces_is_told(
    server: OllamaServer, monitor: Callable[..., Monitor]
) -> None:
    server.generate(keep_alive="200s")
    due = expiry(server)
    mine = monitor(probe={"every": 3600, "timeout": 30})
    with frozen(server):
        await mine.probed("reloaded")
    assert mine.value("ollama_generation_probe_result", MODEL, "reloaded") == 1
    assert expiry(server) == pytest.approx(due, abs=0.5)


async def test_a_probe_keeps_the_context_or_tells_that_it_could_not(
    server: OllamaServer, monitor: Callable[..., Monitor]
) -> None:
    server.generate(options={"num_predict": 1, "num_ctx": 1024})
    told = server.loaded()[TINY].get("context_length")
    mine = monitor(probe={"every": 0.5, "timeout": 5})
    await mine.probed("ok" if told else "reloaded")  # before 0.10 nobody can know
    assert server.loaded()[TINY].get("context_length") == told
    if not told:
        for _ in range(10):
            await mine.look()
            await asyncio.sleep(0.1)
        assert sum(mine.all("ollama_generation_probes").values()) == 1, "and it leaves the model alone for a while"


async def test_a_server_that_is_gone_is_down(tmp_path: Path) -> None:
    with running(tmp_path) as short:
        mine = Monitor(short)
        try:
            assert (await mine.look()).value("ollama_up") == 1
            short.stop()
            await mine.look()
        finally:
            await mine.close()
    assert mine.value("ollama_up") == 0
    assert mine.value("ollama_collector_errors", "connection_refused") == 3, "one a call"
    assert mine.value("ollama_model_loads", MODEL) == 0, "counters stay while it is down"
