"""The proxy as a process: ten thousand clients, an end with and without warning."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.exporter.proxy.process import Proxied
from tests.exporter.proxy.standing import Answer, head_of
from tests.exporter.proxy.test_relay import ASK, CLOSE, HEAD, LAST, LINE, chunk

CLIENTS = 10_000
pytestmark = pytest.mark.timeout(120)


@contextlib.asynccontextmanager
async def before(folder: Path, answer: Answer) -> AsyncIterator[Proxied]:
    """The process before an upstream that does what a test says."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 22)
    made = await asyncio.to_thread(Proxied, folder, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield made
    finally:
        await asyncio.to_thread(made.stop)
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        server.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CLIENTS + 500
    if 0 <= limits[1] < needed:
        pytest.skip(f"{CLIENTS} connections need {needed} file descriptors; this machine gives {limits[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], needed), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_ten_thousand_clients_who_say_nothing_cost_little_and_keep_nobody_out(tmp_path, many_descriptors):
    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD + chunk(LINE) + chunk(LAST) + b"0\r\n\r\n")

    async with before(tmp_path, upstream) as proxy:
        alone = proxy.memory()
        idle: list[socket.socket] = []
        try:
            for number in range(CLIENTS):
                idle.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=20))
                if number % 2:  # half of them have begun to say something
                    idle[-1].send(b"POST /api/chat HTTP/1.1\r\n")
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(ASK)
            assert (await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 30)).endswith(LAST + b"\r\n0\r\n\r\n")
            writer.close()
            assert proxy.memory() - alone < 150
            assert proxy.value("process_open_fds") > CLIENTS  # all of them are still there
        finally:
            for one in idle:
                one.close()
        await asyncio.to_thread(
            proxy.until, lambda: proxy.value("process_open_fds") < 100
        )  # and nothing of them is kept
        assert proxy.value("ollama_proxy_requests_total") == 1


async def test_clients_that_read_nothing_hold_ollama_back_and_little_memory(tmp_path):
    sent = 0
    block = b"x" * 65_536

    async def upstream(reader, writer):
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async with before(tmp_path, upstream) as proxy:
        alone = proxy.memory()
        slow = [socket.create_connection(("127.0.0.1", proxy.port), timeout=20) for _ in range(20)]
        try:
            for one in slow:
                one.sendall(CLOSE)
            last = -1
            while sent != last:  # until nobody can send any more
                last = sent
                await asyncio.sleep(0.5)
            assert sent > len(slow) * len(block)
            assert proxy.memory() - alone < 40
        finally:
            for one in slow:
                one.close()
        await asyncio.to_thread(
            proxy.until, lambda: proxy.value("ollama_proxy_requests_total", 'outcome="cancelled"') == len(slow)
        )


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
FRAMINGS = {
    "chunks": (HEAD, chunk(LINE)),
    "length": (PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Length: 100000\r\n\r\n"), LINE),
    "until the end": (PLAIN, LINE),
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_killed_in_mid_answer_it_leaves_nothing_that_looks_whole(tmp_path, framing):
    head, line = FRAMINGS[framing]
    cancelled = asyncio.Event()

    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(head + line)
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        cancelled.set()

    async with before(tmp_path, upstream) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(ASK)
        got = await asyncio.wait_for(reader.readuntil(line), 10)
        proxy.process.send_signal(signal.SIGKILL)
        if framing == "until the end":  # only a broken connection tells that it is not
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(-1), 10)
        else:
            with contextlib.suppress(ConnectionResetError):
                got += await asyncio.wait_for(reader.read(-1), 10)
            assert not got.endswith(b"0\r\n\r\n")
        writer.close()
        await asyncio.wait_for(cancelled.wait(), 10)  # Ollama is not left working for nobody


async def test_at_sigterm_streams_end_in_their_own_time_and_new_clients_are_not_let_in(tmp_path):
    go_on = asyncio.Event()
    streams = 50

    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD + chunk(LINE))
        await go_on.wait()
        writer.write(chunk(LAST) + b"0\r\n\r\n")
        await reader.read(1)

    async with before(tmp_path, upstream) as proxy:
        opened = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(streams)]
        for reader, writer in opened:
            writer.write(ASK)
            await reader.readuntil(LINE)
        proxy.process.terminate()

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        async with asyncio.timeout(20):
            while not await refused():  # noqa: ASYNC110 -- a process tells nobody
                await asyncio.sleep(0.05)
        go_on.set()
        for reader, writer in opened:
            assert (await asyncio.wait_for(reader.read(-1), 10)).endswith(LAST + b"\r\n0\r\n\r\n")
            writer.close()
        assert await asyncio.to_thread(proxy.process.wait, 20) == 0


def test_a_port_that_is_taken_is_said_in_words(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"{port}.*in use"):
            Proxied(tmp_path, "http://127.0.0.1:1", listen=f"127.0.0.1:{port}")
