"""One of twenty targets hangs: the other nineteen answer as if it were not there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.exporter.faults import servers, systems
from tests.exporter.faults.running import exporter
from tests.exporter.faults.test_matrix import Targets, probe
from tests.exporter.faults.ways import stall

ROUNDS = 5


async def test_the_others_have_answered_many_times_before_the_hung_one_gives_up(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        targets = Targets(tmp_path)
        ollama = await stack.enter_async_context(servers.web(systems.Ollama().answer))
        scheduler = await stack.enter_async_context(servers.scheduler(systems.Dask().answer))
        asked = asyncio.Event()

        def hang(_path: str) -> servers.Reply:
            asked.set()
            return stall

        hung = await stack.enter_async_context(servers.web(hang))
        for number in range(10):
            targets.add("ollama", f"ollama-{number}", f"127.0.0.1:{ollama.port}", 30)
        for number in range(9):
            targets.add("dask", f"dask-{number}", f"127.0.0.1:{scheduler.port}", 30)
        targets.add("ollama", "hung", f"127.0.0.1:{hung.port}", 5)
        process = await asyncio.to_thread(stack.enter_context, exporter(tmp_path, targets.of))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        waiting = asyncio.ensure_future(probe(session, process.url, "hung"))
        await asked.wait()
        well = [target["name"] for system in targets.of.values() for target in system if target["name"] != "hung"]
        for _ in range(ROUNDS):
            for status, text in await asyncio.gather(*(probe(session, process.url, name) for name in well)):
                assert status == 200
                assert "_up 1.0" in text
        assert len(well) == 19
        assert not waiting.done()
        status, text = await waiting
        assert status == 200
        assert "ollama_up 0.0" in text
        assert 'ollama_collector_errors_total{reason="timeout"} ' in text
