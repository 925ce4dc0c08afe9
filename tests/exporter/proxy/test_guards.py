"""Limits: who is let in, who waits, who is told what, and that nothing is lost or counted twice on the way."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct

import pytest
from pydantic import ValidationError

from exporter.proxy.guards import Rates, allowed
from provisioning.config.ollama_proxy import OllamaProxy
from tests.exporter.proxy.standing import head_of, standing
from tests.exporter.proxy.test_relay import ASK, HEAD, LAST, LINE, chunk

END = b"\r\n0\r\n\r\n"


class Held:
    """An upstream whose answers end when a test says so; it knows how many it worked on at once."""

    def __init__(self) -> None:
        self.go_on = asyncio.Semaphore(0)
        self.now = self.most = self.asked = 0

    async def __call__(self, reader, writer):
        while True:
            await head_of(reader)
            await reader.readexactly(2)
            self.asked += 1
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                writer.write(HEAD + chunk(LINE))
                await self.go_on.acquire()
            finally:
                self.now -= 1
            writer.write(chunk(LAST) + b"0\r\n\r\n")


def retry_after(answer: bytes) -> int:
    found = re.search(rb"\r\nRetry-After: (\d+)\r\n", answer)
    assert found is not None, answer
    return int(found[1])


async def test_as_many_as_may_are_under_way_others_wait_their_turn_and_more_are_refused():
    held = Held()
    async with standing(held, limits={"concurrent": 2, "queue": 3}) as here:
        opened = []
        for _ in range(5):
            opened.append(await here.connect())
            opened[-1][1].write(ASK)
            await here.until(lambda: here.total("ollama_proxy_requests_in_flight") == len(opened))
        await here.until(lambda: held.now == 2)
        assert here.total("ollama_proxy_queued") == 3
        refused = await here.ask(ASK)
        assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert 1 <= retry_after(refused) <= 600
        assert json.loads(refused.partition(b"\r\n\r\n")[2]) == {
            "error": "2 requests are under way and 3 wait, as many as may"
        }
        for number, (reader, _) in enumerate(opened):  # one after the other, in the order they came
            held.go_on.release()
            await asyncio.wait_for(reader.readuntil(END), 10)
            assert here.total("ollama_proxy_queued") == max(2 - number, 0)
        assert (held.most, held.asked) == (2, 5)
        assert here.total("ollama_proxy_refused_total", reason="queue_full") == 1
        assert here.total("ollama_proxy_requests_total", outcome="refused", code="503") == 1
        assert here.total("ollama_proxy_requests_total", outcome="complete") == 5
        assert here.total("ollama_proxy_queue_seconds_count") == 5


async def test_who_waits_too_long_is_told_so():
    held = Held()
    async with standing(held, limits={"concurrent": 1, "queue_time": "1s"}) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        await reader.readuntil(LINE)
        refused = await here.ask(ASK)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"has waited 1 s" in refused
        assert here.total("ollama_proxy_refused_total", reason="queue_time") == 1
        held.go_on.release()
        await reader.readuntil(END)
        assert held.asked == 1


@pytest.mark.parametrize("how", ["abort", "close", "half"])
async def test_who_leaves_the_queue_makes_room_and_is_not_asked_for(how):
    held = Held()
    async with standing(held, limits={"concurrent": 1, "queue": 1}) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        await reader.readuntil(LINE)
        _, leaving = await here.connect()
        leaving.write(ASK)
        await here.until(lambda: here.total("ollama_proxy_queued") == 1)
        {"abort": leaving.transport.abort, "close": leaving.close, "half": leaving.write_eof}[how]()
        await here.until(lambda: here.total("ollama_proxy_queued") == 0)
        assert here.total("ollama_proxy_requests_total", outcome="cancelled") == 1
        other, asking = await here.connect()
        asking.write(ASK)
        held.go_on.release()
        held.go_on.release()
        await asyncio.wait_for(other.readuntil(END), 10)
        assert held.asked == 2


async def test_who_leaves_in_mid_answer_gives_the_turn_on():
    held = Held()
    async with standing(held, limits={"concurrent": 1}) as here:
        reader, leaving = await here.connect()
        leaving.write(ASK)
        await reader.readuntil(LINE)
        other, writer = await here.connect()
        writer.write(ASK)
        await here.until(lambda: here.total("ollama_proxy_queued") == 1)
        leaving.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.transport.abort()
        await asyncio.wait_for(other.readuntil(LINE), 10)


async def test_who_waits_on_a_connection_that_ollama_has_left_gets_another():
    held = Held()

    async def upstream(reader, writer):
        if not held.asked:  # the first answers once, and leaves when somebody waits
            held.asked += 1
            await head_of(reader)
            await reader.readexactly(2)
            writer.write(HEAD + chunk(LAST) + b"0\r\n\r\n")
            await leave.wait()
        else:
            await held(reader, writer)

    leave = asyncio.Event()
    async with standing(upstream, limits={"concurrent": 1}) as here:
        waiting, writer = await here.connect()
        writer.write(ASK)
        await waiting.readuntil(END)
        working, other = await here.connect()
        other.write(ASK)
        await working.readuntil(LINE)
        writer.write(ASK)
        await here.until(lambda: here.total("ollama_proxy_queued") == 1)
        leave.set()
        await asyncio.sleep(0.1)
        held.go_on.release()
        held.go_on.release()
        assert (await asyncio.wait_for(waiting.readuntil(END), 10)).endswith(END)
        assert here.total("ollama_proxy_requests_total", outcome="complete") == 3


async def test_a_large_request_waits_its_turn_whole():
    bodies = []

    async def upstream(reader, writer):
        while True:
            head = await head_of(reader)
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            bodies.append(await reader.readexactly(length))
            await asyncio.sleep(0.2)
            writer.write(HEAD + chunk(LAST) + b"0\r\n\r\n")

    async with standing(upstream, limits={"concurrent": 1}) as here:
        body = bytes(range(256)) * (16 << 10)  # 4 MiB
        head = b"POST /api/chat HTTP/1.1\r\nHost: me\r\nContent-Length: %d\r\n\r\n" % len(body)
        opened = [await here.connect() for _ in range(3)]
        for _, writer in opened:
            writer.write(head + body)
        for reader, _ in opened:
            await asyncio.wait_for(reader.readuntil(END), 20)
        assert bodies == [body] * 3


async def test_requests_sent_at_once_on_one_connection_are_taken_one_by_one():
    held = Held()
    for _ in range(3):
        held.go_on.release()
    async with standing(held, limits={"concurrent": 1}) as here:
        reader, writer = await here.connect()
        writer.write(ASK * 3)
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(-1), 10)).count(END) == 3
        assert (held.most, held.asked) == (1, 3)


async def test_many_who_come_and_go_leave_every_place_free():
    async def upstream(reader, writer):
        while True:
            await head_of(reader)
            await reader.readexactly(2)
            writer.write(HEAD + chunk(LINE))
            await asyncio.sleep(0)
            writer.write(chunk(LAST) + b"0\r\n\r\n")

    async with standing(upstream, limits={"concurrent": 3, "queue": 1000}) as here:

        async def client(number: int) -> None:
            for turn in range(10):
                reader, writer = await here.connect()
                writer.write(ASK)
                if (number + turn) % 3:
                    await asyncio.wait_for(reader.readuntil(END), 20)
                else:
                    await asyncio.sleep(0.001 * number)
                writer.transport.abort()

        await asyncio.gather(*(client(number) for number in range(30)))
        await here.until(lambda: here.total("ollama_proxy_requests_in_flight") == 0)
        assert here.total("ollama_proxy_queued") == 0
        reader, writer = await here.connect()
        for _ in range(5):
            writer.write(ASK)
            await asyncio.wait_for(reader.readuntil(END), 10)


def asking(path: str, *lines: str) -> bytes:
    head = "\r\n".join((f"POST {path} HTTP/1.1", "Host: me", "Content-Length: 2", *lines, "", ""))
    return head.encode() + b"{}"


async def test_each_dialect_is_refused_in_its_own_words():
    held = Held()
    for _ in range(3):
        held.go_on.release()
    async with standing(held, limits={"requests_per_minute": 1}) as here:
        key = "Authorization: Bearer sk-ana"
        reader, writer = await here.connect()
        writer.write(asking("/api/chat", key))
        await reader.readuntil(END)
        bodies = {}
        for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
            answer = await here.ask(asking(path, key))
            assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
            assert 55 <= retry_after(answer) <= 60
            bodies[path] = json.loads(answer.partition(b"\r\n\r\n")[2])
        why = "more requests a minute than one user may make"
        assert bodies["/api/chat"] == {"error": why}
        error = {"message": why, "type": "rate_limit_error", "param": None, "code": None}
        assert bodies["/v1/chat/completions"] == {"error": error}
        assert bodies["/v1/messages"] == {"type": "error", "error": {"type": "rate_limit_error", "message": why}}
        for other in ("Authorization: Bearer sk-ben", "x-api-key: sk-eva"):  # others have their own minute
            reader, writer = await here.connect()
            writer.write(asking("/api/chat", other))
            await reader.readuntil(END)
        assert here.total("ollama_proxy_refused_total", reason="rate") == 3


async def test_closed_paths_reach_nobody_and_limits_are_for_models_alone():
    reached = []

    async def upstream(reader, writer):
        while True:
            reached.append((await head_of(reader)).split(b" ")[1])
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    limits = {"requests_per_minute": 1, "concurrent": 1}
    async with standing(upstream, limits=limits, paths=["/api/chat", "/api/tags", "/v1/*"]) as here:
        for path in ("/api/pull", "/api/delete", "/api/chat/", "/api/%63hat", "/v1/../api/pull", "//api/chat", "/v1"):
            answer = await here.ask(asking(path))
            assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"), path
        head = await here.ask(asking("/api/pull").replace(b"POST", b"HEAD").replace(b"\r\n\r\n{}", b"\r\n\r\n"))
        assert head.endswith(b"\r\n\r\n")
        assert reached == []
        reader, writer = await here.connect()
        for _ in range(5):
            writer.write(asking("/api/tags"))
            await reader.readuntil(b"\r\n\r\nok")
        writer.write(asking("/v1/models?x=1"))
        await reader.readuntil(b"\r\n\r\nok")
        assert here.total("ollama_proxy_refused_total", reason="path") == 8


@pytest.mark.parametrize("path", ["api/chat", "/v1*", "*", "/a/*/b", ""])
def test_a_path_that_would_match_something_else_is_no_path(path):
    with pytest.raises(ValidationError):
        OllamaProxy(listen="127.0.0.1:1", paths=[path])


def test_a_prefix_is_a_prefix_of_whole_names():
    assert allowed("/v1/models", ["/v1/*"])
    assert not allowed("/v1x", ["/v1/*"])
    assert not allowed("/v1/a%2fb", ["/v1/*"])


def test_a_minute_that_was_not_used_is_saved_up_once():
    now = 0.0
    rates = Rates(60, lambda: now)
    assert [rates.take("a") for _ in range(61)] == [0.0] * 60 + [1.0]
    now = 0.5
    assert rates.take("a") == 0.5
    now = 1.0
    assert rates.take("a") == 0.0
    now = 10_000.0
    assert [rates.take("a") for _ in range(61)] == [0.0] * 60 + [1.0]


def test_keys_that_somebody_makes_up_do_not_fill_the_memory():
    rates = Rates(1, lambda: 0.0)
    for number in range(20_000):
        rates.take(f"key {number}")
    assert len(rates._buckets) == 10_000
