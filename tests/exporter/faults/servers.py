"""Bare servers on loopback that can do everything wrong: HTTP, Dask's RPC, and a port that never accepts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgpack

from exporter import dask_protocol
from tests.exporter.dask.framing import read_block

# Bytes to send, or what to do with the connection instead.
Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
GREETING: Mapping[str, object] = {"compression": None, "python": (3, 11, 2), "pickle-protocol": 5}


class Hits:
    """How often a server was connected to and asked."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.asked: list[str] = []


@asynccontextmanager
async def _listening(hits: Hits, talk: Callable[..., Awaitable[None]]) -> AsyncIterator[Hits]:
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        hits.connections += 1
        with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    hits.port = server.sockets[0].getsockname()[1]
    try:
        yield hits
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    if callable(reply):
        await reply(writer)
    else:
        writer.write(reply)
    await writer.drain()
    if writer.is_closing():
        raise EOFError


@asynccontextmanager
async def web(answer: Callable[[str], Reply]) -> AsyncIterator[Hits]:
    """An HTTP server; `answer` is given the path of each request."""
    hits = Hits()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            path = head.split(" ", 2)[1]
            hits.asked.append(path)
            await _send(writer, answer(path))

    async with _listening(hits, talk):
        yield hits


@asynccontextmanager
async def scheduler(answer: Callable[[str], Reply], greeting: Reply | None = None) -> AsyncIterator[Hits]:
    """A Dask scheduler's port; `answer` is given `identity`, `events-all` and so on, each call in turn."""
    hits = Hits()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _send(writer, greeting or message(GREETING))
        while True:
            size = dask_protocol.block_size(await reader.readexactly(dask_protocol.SIZE_BYTES))
            asked = read_block(await reader.readexactly(size))
            op = asked.get("op")
            if op is None:  # the other side's greeting
                continue
            name = f"events-{asked['topic']}" if op == "events" else op
            hits.asked.append(name)
            await _send(writer, answer(name))

    async with _listening(hits, talk):
        yield hits


@contextmanager
def never_accepting() -> Iterator[int]:
    """A port whose queue of connections is full, so that connecting to it hangs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def http(body: bytes, content_type: str = "application/json", status: int = 200, **headers: str) -> bytes:
    """A whole HTTP answer."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def js(body: object, status: int = 200) -> bytes:
    """A whole HTTP answer with JSON in it; infinities become numbers that read as such."""
    return http(json.dumps(body).encode(), status=status)


def message(value: object) -> bytes:
    """One message of Dask's RPC."""
    return framed(bytes(msgpack.packb(value, use_bin_type=True)))


def framed(frame: bytes, claimed: int | None = None) -> bytes:
    """One message of one frame, which may claim to be longer than it is."""
    size = len(frame) if claimed is None else claimed
    return b"".join(number.to_bytes(8, "little") for number in (16 + size, 1, size)) + frame
