"""An upstream that does what a test says, and a proxy before it; both speak raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from exporter.proxy.accounts import Accounts
from exporter.proxy.contexts import Contexts
from exporter.proxy.guards import guard_of
from exporter.proxy.metrics import Metrics
from exporter.proxy.relay import Client, factory
from exporter.proxy.seen import Counting
from exporter.proxy.upstream import Upstream
from provisioning.config.ollama_proxy import OllamaProxy

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Standing:
    """Both, running."""

    upstream: int
    proxy: int
    metrics: Metrics
    clients: set[Client]
    opened: list[Streams] = field(default_factory=list)

    async def connect(self, *, direct: bool = False) -> Streams:
        """A client's connection."""
        pair = await asyncio.open_connection("127.0.0.1", self.upstream if direct else self.proxy, limit=1 << 22)
        self.opened.append(pair)
        return pair

    async def ask(self, raw: bytes, *, direct: bool = False) -> bytes:
        """Everything that comes back until the connection ends."""
        reader, writer = await self.connect(direct=direct)
        writer.write(raw)
        return await asyncio.wait_for(reader.read(-1), 20)

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for family in self.metrics.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once it is so."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 -- what is awaited tells nobody
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def standing(
    answer: Answer, *, ask_ps: bool = False, target: str = "gpu", **keys: Any
) -> AsyncIterator[Standing]:
    """`answer` is called for each connection to the upstream; `keys` are those of `proxy:` in cluster-ai.yml."""

    answering: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await answer(reader, writer)
        finally:
            await _close(writer)
            answering.discard(task)

    upstream = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 22)
    port = upstream.sockets[0].getsockname()[1]
    metrics, clients = Metrics(), set[Client]()
    loop = asyncio.get_running_loop()
    proxy = OllamaProxy(listen="127.0.0.1:1", **keys)
    accounts = Accounts(proxy)
    there = Upstream("127.0.0.1", port, rename=b"ollama:11434", request_usage=proxy.request_usage)
    guard = guard_of(proxy, accounts, metrics, target)
    contexts = Contexts(there) if ask_ps else None
    made = factory(there, Counting(metrics, target, accounts, contexts), clients, guard)
    front = await loop.create_server(made, "127.0.0.1", 0)
    here = Standing(port, front.sockets[0].getsockname()[1], metrics, clients)
    try:
        yield here
    finally:
        for _, writer in here.opened:
            await _close(writer)
        for client in list(clients):
            client.abort()
        front.close()
        upstream.close()
        for task in list(answering):
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        await front.wait_closed()
        await upstream.wait_closed()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """A request's head, as it came."""
    return await reader.readuntil(b"\r\n\r\n")
