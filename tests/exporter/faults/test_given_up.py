"""A call that hangs is given up when its scrape ends, also when another call of the same scrape failed before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.compose.running import until
from tests.exporter.faults import servers, systems
from tests.exporter.faults.running import Exporter, exporter
from tests.exporter.faults.test_matrix import Targets, probe

SCRAPES = 3
SYSTEMS = {"ollama": systems.Ollama, "openwebui": systems.OpenWebUI}
# What each scrape asks first; the rest follows from the answers to these.
ASKED = {"ollama": ("/api/version", "/api/tags", "/api/ps"), "openwebui": ("/health", "/api/version", "/api/config")}
CASES = [(system, path) for system, paths in ASKED.items() for path in paths]


def open_ports(process: Exporter) -> set[int]:
    """The exporter's ends of its connections."""
    connections = psutil.Process(process.process.pid).net_connections("tcp")
    return {one.laddr.port for one in connections if one.status == psutil.CONN_ESTABLISHED}


@pytest.mark.parametrize("others_fail", [True, False], ids=["the others fail", "the others answer"])
async def test_nothing_stays_under_way(others_fail: bool, tmp_path: Path) -> None:
    hung: dict[int, tuple[str, str]] = {}  # the exporter's ports of connections on which no answer will ever come

    def answers(system: str, hangs: str) -> Callable[[str], servers.Reply]:
        well = SYSTEMS[system]().answer

        def answer(path: str) -> servers.Reply:
            if path != hangs:
                return servers.js({}, 500) if others_fail else well(path)
            return hang

        async def hang(writer: asyncio.StreamWriter) -> None:
            hung[writer.get_extra_info("peername")[1]] = (system, hangs)
            await asyncio.Event().wait()

        return answer

    async with AsyncExitStack() as stack:
        targets = Targets(tmp_path)
        names = []
        for number, (system, path) in enumerate(CASES):
            hits = await stack.enter_async_context(servers.web(answers(system, path)))
            targets.add(system, f"target-{number}", f"127.0.0.1:{hits.port}", 1)
            names.append(f"target-{number}")
        process = await asyncio.to_thread(stack.enter_context, exporter(tmp_path, targets.of))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        for _ in range(SCRAPES):
            for status, _ in await asyncio.gather(*(probe(session, process.url, name) for name in names)):
                assert status == 200
        assert set(hung.values()) == set(CASES)
        await asyncio.to_thread(until, lambda: not open_ports(process) & hung.keys(), "the calls to be given up")
