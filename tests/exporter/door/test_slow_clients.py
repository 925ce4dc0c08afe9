"""Clients that say nothing, or too little, hold up nobody and are dropped: table row 8."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from exporter.door import crowd, server
from exporter.families import Family, Labels, gauge
from tests.exporter.door.helpers import LOOPBACK, Authority, fleet_of, serving, trusting

SPARE = 4  # threads that compress answers and check passwords come and go; none belongs to a client
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


async def status(url: str, context: ssl.SSLContext | bool = True) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/probe?target=gpu", ssl=context) as answer:
        return answer.status


async def closed(client: Client) -> None:
    """Wait until the other side has hung up."""
    reader, writer = client
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        pass
    finally:
        writer.close()


async def connected(stack: AsyncExitStack, url: str, count: int, say: bytes = b"") -> list[Client]:
    clients = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        stack.callback(writer.close)
        writer.write(say)
        clients.append((reader, writer))
    return clients


def test_the_promised_times():
    assert server.HANDSHAKE <= 30
    assert server.KEEPALIVE <= 30
    assert server.SENDING <= 30


async def test_500_slow_heads_do_not_hold_up_a_scrape_and_are_dropped(tmp_path):
    async with serving(fleet_of(tmp_path), keepalive=2) as url, AsyncExitStack() as stack:
        await status(url)
        threads = threading.active_count()
        slow = await connected(stack, url, 500, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        began = time.monotonic()
        assert await status(url) == 200
        assert time.monotonic() - began < 1
        assert threading.active_count() <= threads + SPARE
        dripping = asyncio.create_task(drip(slow[0][1]))
        async with asyncio.timeout(10):
            await asyncio.gather(*map(closed, slow))
        dripping.cancel()


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then must not keep a connection alive."""
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.1)


async def test_50_silent_tls_clients_do_not_hold_up_a_scrape_and_are_dropped(tmp_path):
    authority = Authority(tmp_path / "tls")
    authority.sign("server", LOOPBACK)
    file = authority.folder / "web.yml"
    file.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    async with serving(fleet_of(tmp_path), file, handshake=2) as url, AsyncExitStack() as stack:
        trust = trusting(authority.file)
        await status(url, trust)
        threads = threading.active_count()
        silent = await connected(stack, url, 50)
        began = time.monotonic()
        assert await status(url, trust) == 200
        assert threading.active_count() <= threads + SPARE
        assert time.monotonic() - began < 1
        async with asyncio.timeout(10):
            await asyncio.gather(*map(closed, silent))


async def test_a_client_that_does_not_take_its_answer_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "SENDING", 0.5)

    async def many() -> list[Family]:
        family = gauge("ollama_many", "Fake.")
        for index in range(49_000):
            family.add(index, Labels(model=f"{index:0190d}"))
        return [family]

    async with serving(fleet_of(tmp_path, gpu=many)) as url:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port(url)))
            client.sendall(b"GET /probe?target=gpu HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(20):
                while not await hung_up(port(url), client):  # noqa: ASYNC110 -- the kernel tells nobody
                    await asyncio.sleep(0.05)


async def hung_up(server_port: int, client: socket.socket) -> bool:
    """Whether the server's side of this connection is gone, by the kernel's own table."""
    mine = f":{client.getsockname()[1]:04X}"
    table = await asyncio.to_thread(Path("/proc/net/tcp").read_text)
    states = {
        fields[3]
        for fields in map(str.split, table.splitlines()[1:])
        if fields[1].endswith(f":{server_port:04X}") and fields[2].endswith(mine)
    }
    return "01" not in states


async def test_answers_that_nobody_takes_hold_so_much_memory_and_no_more(tmp_path, monkeypatch):
    """The oldest go; who takes what they asked for gets it."""
    monkeypatch.setattr(server, "MOST_UNTAKEN", 40 << 20)
    family = gauge("many", "Many.")
    family.samples = [(Labels(number=f"{number:0>150}"), 1.0) for number in range(49_000)]

    async def many() -> list[Family]:
        return [family]

    async with serving(fleet_of(tmp_path, gpu=many)) as url, AsyncExitStack() as stack:
        first = await connected(stack, url, 2, b"GET /probe?target=gpu HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, writer in first:
            assert await reader.readexactly(12) == b"HTTP/1.1 200"
            writer.transport.pause_reading()
        for _ in range(8):
            [(reader, writer)] = await connected(stack, url, 1, b"GET /probe?target=gpu HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readexactly(12) == b"HTTP/1.1 200"
            writer.transport.pause_reading()
            assert await status(url) == 200
            assert sum(server._untaken.values()) <= 40 << 20
        async with asyncio.timeout(10):
            for reader, writer in first:
                writer.transport.resume_reading()
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await reader.readexactly(8 << 20)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/probe?target=gpu") as answer:
            assert (await answer.read()).count(b"\nmany{") == 49_000


async def test_a_crowd_that_says_nothing_makes_room_for_who_asks(tmp_path, monkeypatch):
    """Every descriptor would be theirs otherwise, and none left to ask a target with."""
    monkeypatch.setattr(crowd, "MOST", 50)
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> list[Family]:
        asked.set()
        await go_on.wait()
        return [gauge("good", "Good.")]

    async with serving(fleet_of(tmp_path, gpu=slow)) as url, AsyncExitStack() as stack:
        waiting = asyncio.create_task(status(url))
        await asked.wait()
        silent = await connected(stack, url, 300, b"GET / HTTP/1.1\r\nHost: ")
        async with asyncio.timeout(10):
            await asyncio.gather(*map(closed, silent[:200]))
        last, _ = silent[-1]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(last.read(1), 0.1)
        go_on.set()
        assert await waiting == 200
        assert await status(url) == 200


def test_as_many_descriptors_are_taken_as_the_machine_gives():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 5000));"
        "from exporter.door.crowd import want_descriptors; want_descriptors();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(5000, 5000)\n"
