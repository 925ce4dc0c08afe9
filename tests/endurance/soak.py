"""`make soak`: an exporter for half an hour at ten times the usual rate, with faults, and its memory must stay flat.

SOAK_MINUTES changes how long. The exporter is a process; the systems it watches are stand-ins in this one. A tenth of
their answers is wrong in one of many ways, some hang, and crowds of models and workers come and go.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from exporter.client.rpc import MAX_CONNECTIONS
from tests.exporter.faults import servers, systems, ways
from tests.exporter.faults.running import Exporter, exporter
from tests.exporter.faults.test_crowds import CROWDS
from tests.exporter.faults.test_matrix import OPENMETRICS, Targets, probe

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
EVERY = 0.5  # seconds between two probes of a target; Prometheus asks every 5
TARGETS = 3  # of each system
TIMEOUT = 2.0  # seconds, the targets'
FAULTY = 0.1  # share of the answers
CROWD, CROWD_SECONDS = 300, 6.0  # a round of all targets within a minute, and several in the warm-up
LOOKS = 60  # points of the curve
WARM_UP = 1 / 3  # share of the points that come before the exporter is what it will be
# How much more there may be at the end than after the warm-up, by the line through all points between.
ALLOWED = {"MiB": 4.0, "threads": 2.0}  # threads are at most six and one
# Pools of connections fill by chance and empty when nobody asks; only Dask's stay, four for a cluster.
REST = 100.0  # seconds
KEPT_FILES = TARGETS * MAX_CONNECTIONS + 3
CHANCE = random.Random(20260101)  # noqa: S311 -- the same faults at every run


@dataclass
class Counts:
    """What was asked and what came back."""

    scrapes: int = 0
    down: int = 0
    wrong: int = 0  # other than 200


def faulty_web(answer: Callable[[str], servers.Reply]) -> Callable[[str], servers.Reply]:
    """The same answers, a tenth of them wrong."""
    wrong: list[servers.Reply] = [
        *(servers.js({"detail": "no"}, status) for status in (401, 403, 404, 429, 500, 503)),
        ways.half(servers.http(b"{}" + b" " * 200)),
        servers.http(b"<p>", "text/html"),
        servers.http(ways.DEEP),
        servers.js(ways.WRONG),
        servers.http(b"", status=302, Location="http://127.0.0.1:1/"),
        ways.stall,
        ways.drip(servers.js({})),
    ]
    return lambda path: CHANCE.choice(wrong) if CHANCE.random() < FAULTY else answer(path)


def faulty_rpc(answer: Callable[[str], servers.Reply]) -> Callable[[str], servers.Reply]:
    """The same, over Dask's RPC."""
    whole = servers.message(systems.Dask().replies["identity"])
    wrong: list[servers.Reply] = [
        ways.half(whole),
        ways.half(whole, then=ways.stall),
        ways.pause_in(whole, 0.1),
        servers.framed(b"\x91" * 10_000),
        servers.framed(b"x", 8 << 30),
        servers.message(ways.WRONG),
        ways.stall,
    ]
    return lambda name: CHANCE.choice(wrong) if CHANCE.random() < FAULTY else answer(name)


async def open_targets(stack: AsyncExitStack, targets: Targets) -> list[tuple[str, Any]]:
    """Stand-ins for all targets, as (system, stand-in)."""
    opened: list[tuple[str, Any]] = []
    for number in range(TARGETS):
        dask, ollama, openwebui = systems.Dask(), systems.Ollama(), systems.OpenWebUI()
        page = await stack.enter_async_context(servers.web(faulty_web(dask.page)))
        rpc = await stack.enter_async_context(servers.scheduler(faulty_rpc(dask.answer)))
        targets.add("dask", f"dask-{number}", f"127.0.0.1:{rpc.port}", TIMEOUT, f"127.0.0.1:{page.port}")
        for system, stand_in in (("ollama", ollama), ("openwebui", openwebui)):
            hits = await stack.enter_async_context(servers.web(faulty_web(stand_in.answer)))
            targets.add(system, f"{system}-{number}", f"127.0.0.1:{hits.port}", TIMEOUT)
            opened.append((system, stand_in))
        opened.append(("dask", dask))
    return opened


async def scrape(session: aiohttp.ClientSession, url: str, name: str, counts: Counts) -> None:
    """Probe one target for ever, in both formats by turns."""
    while True:
        begun = time.monotonic()
        accept = OPENMETRICS if counts.scrapes % 2 else "text/plain"
        status, text = await probe(session, url, name, accept)
        counts.scrapes += 1
        counts.wrong += status != 200
        counts.down += "_up 0.0" in text
        await asyncio.sleep(max(0.0, begun + EVERY - time.monotonic()))


async def crowds(opened: list[tuple[str, Any]]) -> None:
    """Let crowds come to one stand-in after the other, and go again."""
    while True:
        for system, stand_in in opened:
            before = deepcopy(stand_in.__dict__)
            CROWDS[system](stand_in, CROWD)
            await asyncio.sleep(CROWD_SECONDS / 2)
            stand_in.__dict__.update(before)
            await asyncio.sleep(CROWD_SECONDS / 2)


async def discover(session: aiohttp.ClientSession, url: str) -> None:
    """What else asks: service discovery, the fleet in one page, reloads."""
    while True:
        for path in ("/sd?kind=probe", "/sd?kind=native", "/metrics", "/targets", "/"):
            async with session.get(url + path) as response:
                await response.read()
            await asyncio.sleep(1)
        async with session.post(f"{url}/-/reload") as response:
            await response.read()


def growth(points: list[float]) -> float:
    """How much a straight line through the points after the warm-up rises from its start to its end."""
    late = points[int(len(points) * WARM_UP) :]
    middle = (len(late) - 1) / 2
    mean = sum(late) / len(late)
    spread = sum((index - middle) ** 2 for index in range(len(late)))
    slope = sum((index - middle) * (point - mean) for index, point in enumerate(late)) / spread
    return slope * (len(late) - 1)


async def watch(process: Exporter, counts: Counts) -> dict[str, list[float]]:
    """The curve, printed as it grows."""
    curve: dict[str, list[float]] = {name: [] for name in (*ALLOWED, "files")}
    print("minute   scrapes     down      MiB  files  threads", flush=True)  # noqa: T201
    for number in range(1, LOOKS + 1):
        await asyncio.sleep(MINUTES * 60 / LOOKS)
        point = {"MiB": process.rss(), "files": process.files(), "threads": process.threads()}
        for name, value in point.items():
            curve[name].append(float(value))
        print(  # noqa: T201
            f"{number * MINUTES / LOOKS:6.1f} {counts.scrapes:9} {counts.down:8} {point['MiB']:8.1f} "
            f"{point['files']:6} {point['threads']:8}",
            flush=True,
        )
    return curve


async def soak(folder: Path) -> list[str]:
    """The whole run; what was wrong with it."""
    async with AsyncExitStack() as stack:
        targets = Targets(folder)
        opened = await open_targets(stack, targets)
        process = await asyncio.to_thread(stack.enter_context, exporter(folder, targets.of))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        counts, files = Counts(), process.files()
        names = [target["name"] for entries in targets.of.values() for target in entries]
        load = [scrape(session, process.url, name, counts) for name in names]
        tasks = [asyncio.ensure_future(work) for work in (*load, crowds(opened), discover(session, process.url))]
        watching = asyncio.ensure_future(watch(process, counts))
        await asyncio.wait({*tasks, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # it should never end: this raises what ended it
            task.cancel()
        curve = await watching
        await session.close()
        await asyncio.sleep(REST)
        kept = process.files() - files
        log = process.log()
    wrong = []
    print(f"files: {kept:+} after a rest, at most {KEPT_FILES} allowed")  # noqa: T201
    if kept > KEPT_FILES:
        wrong.append(f"{kept} files stayed open")
    for name, allowed in ALLOWED.items():
        grown = growth(curve[name])
        print(f"{name}: {grown:+.2f} over the time after the warm-up, at most {allowed} allowed")  # noqa: T201
        if grown > allowed:
            wrong.append(f"{name} grew by {grown:.2f}")
    if counts.wrong:
        wrong.append(f"{counts.wrong} of {counts.scrapes} scrapes were not answered with 200")
    if "Traceback" in log:
        wrong.append("the exporter's log holds a traceback: " + log[log.index("Traceback") :][:2000])
    return wrong


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.exit("\n".join(asyncio.run(soak(Path(name)))) or 0)
