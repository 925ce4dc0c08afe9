"""What passes, byte for byte, and what both sides see of each other's misfortunes."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from exporter.proxy import intake, relay
from exporter.proxy.seen import Counting
from exporter.proxy.serving import drain
from tests.exporter.proxy.standing import head_of, standing

ASK = b"POST /api/generate HTTP/1.1\r\nHost: me\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = b"GET /api/version HTTP/1.1\r\nHost: me\r\nConnection: close\r\n\r\n"
LINE = b'{"model":"tiny","response":"a","done":false}\n'
LAST = b'{"model":"tiny","response":"","done":true,"done_reason":"stop","total_duration":9,"eval_count":3}\n'


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nX-Odd:   spaces \r\nContent-Length: 5\r\n\r\nhello",
    "chunks": HEAD + chunk(LINE) * 3 + chunk(LAST) + b"0\r\n\r\n",
    "odd chunks": HEAD + b"0005;x=y\r\nhello\r\n" + b"1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
    "until the end": b"HTTP/1.0 200 OK\r\n\r\nthe rest",
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.2\r\nwhat is this\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_arrives_as_it_was_sent(answer):
    async def upstream(reader, writer):
        await head_of(reader)
        for at in range(0, len(answer), 11):  # in pieces that have nothing to do with its framing
            writer.write(answer[at : at + 11])
            await writer.drain()

    async with standing(upstream) as here:
        assert await here.ask(CLOSE) == await here.ask(CLOSE, direct=True) == answer


async def test_a_request_arrives_as_it_was_sent_but_for_its_host():
    seen = asyncio.Queue()

    async def upstream(reader, writer):
        seen.put_nowait(await reader.readexactly(len(want)))
        writer.write(ANSWERS["length"])

    body = b"4\r\nWiki\r\n0\r\nX-T: 1\r\n\r\n"
    lines = (
        b"POST /api/blobs/sha256:ab?q=%20 HTTP/1.1\r\nUSER-agent:x\r\nHost: me:11435\r\nTransfer-Encoding: chunked\r\n"
    )
    want = lines.replace(b"me:11435", b"ollama:11434") + b"X-A:\ty\r\n\r\n" + body
    async with standing(upstream) as here:
        reader, writer = await here.connect()
        for byte in lines + b"X-A:\ty\r\n\r\n" + body:
            writer.write(bytes([byte]))
        assert await asyncio.wait_for(seen.get(), 10) == want
        await reader.readuntil(b"hello")


async def test_many_requests_on_one_connection_and_some_at_once():
    async def upstream(reader, writer):
        for number in range(5):
            await head_of(reader)
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        for asked in (1, 3, 1):
            writer.write(ASK * asked)
            for _ in range(asked):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(1)
        assert here.total("ollama_proxy_requests_total", outcome="complete", code="200") == 5
        assert here.total("ollama_proxy_requests_in_flight") == 0


async def test_an_upgraded_connection_is_passed_both_ways():
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
        writer.write((await reader.readexactly(4))[::-1])
        await writer.drain()

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\r\nZ")
        assert await asyncio.wait_for(reader.read(-1), 10) == b"Z\n\r\x00"


async def test_a_client_that_leaves_ends_the_request_upstream_at_once():
    gone = asyncio.Event()

    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(HEAD + chunk(LINE))
        await reader.readexactly(2)
        try:
            await reader.read(1)
        finally:
            gone.set()

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        await reader.readuntil(LINE)
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), 5)
        await here.until(lambda: here.total("ollama_proxy_requests_total", outcome="cancelled") == 1)
        # What the model had written is counted, as an estimate.
        assert here.total("ollama_proxy_tokens_total", source="estimated", model="tiny") == 1


async def test_an_error_told_to_a_client_that_has_left_is_its_leaving():
    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD + chunk(LINE))
        await reader.read(1)  # the client's end, on which Ollama gives up
        writer.write(chunk(b'{"error":"context canceled"}\n') + b"0\r\n\r\n")
        await writer.drain()

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        await reader.readuntil(LINE)
        writer.write_eof()
        await here.until(lambda: here.total("ollama_proxy_requests_in_flight") == 0)
        assert here.total("ollama_proxy_requests_total", outcome="cancelled") == 1
        assert here.total("ollama_proxy_requests_total", outcome="failed") == 0


@pytest.mark.parametrize("reset", [False, True])
async def test_an_upstream_that_dies_in_mid_answer_never_looks_whole(reset):
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(HEAD + chunk(LINE))
        await writer.drain()
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        try:
            got = await asyncio.wait_for(reader.read(-1), 10)
        except ConnectionResetError:
            got = b""
        assert not got.endswith(b"0\r\n\r\n")
        await here.until(lambda: here.total("ollama_proxy_requests_total", outcome="aborted") == 1)


async def test_a_reset_upstream_is_no_orderly_end_of_an_answer_without_length():
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await writer.drain()
        await asyncio.sleep(0.2)  # so that the bytes are not thrown away by the reset itself
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(CLOSE)
        await reader.readuntil(b"half of it")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 10)


async def test_an_upstream_that_is_not_there_is_502_in_words():
    async with standing(lambda _reader, writer: writer.drain()) as here:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            made = relay.factory(
                relay.Upstream("127.0.0.1", free.getsockname()[1]), Counting(here.metrics, "gpu"), here.clients
            )
            server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
            here.proxy = server.sockets[0].getsockname()[1]
            answer = await here.ask(ASK)
            server.close()
        assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b'{"error": "the proxy cannot reach Ollama at 127.0.0.1:' in answer
        assert here.total("ollama_proxy_requests_total", outcome="unreachable", model="_unknown") == 1


async def test_a_smuggled_request_is_refused_and_reaches_nobody():
    reached = []

    async def upstream(reader, _writer):
        reached.append(await head_of(reader))

    async with standing(upstream) as here:
        raw = ASK.replace(b"Content-Length: 2", b"Content-Length: 2\r\nTransfer-Encoding: chunked")
        answer = await here.ask(raw)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert reached == []


async def test_a_slow_reader_holds_the_upstream_back_and_not_in_our_memory():
    sent = 0
    block = b"x" * 65536

    async def upstream(reader, writer):
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(block)
            await writer.drain()
            sent += len(block)

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        reader._limit = 1  # type: ignore[attr-defined] -- this client reads next to nothing
        writer.write(CLOSE)
        await reader.readexactly(1)
        last = -1
        while sent != last:  # until the upstream can write no more
            last = sent
            await asyncio.sleep(0.3)
        held = sum(client.transport.get_write_buffer_size() for client in here.clients)
        assert held < 2 << 20
        assert sent < 64 << 20


async def test_what_is_under_way_ends_before_the_proxy_does():
    go_on = asyncio.Event()

    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD + chunk(LINE))
        await go_on.wait()
        writer.write(chunk(LAST) + b"0\r\n\r\n")
        await reader.read(1)

    async with standing(upstream) as here:
        idle, _ = await here.connect()
        reader, writer = await here.connect()
        writer.write(ASK)
        await reader.readuntil(LINE)
        draining = asyncio.create_task(drain(here.clients, 20))
        assert await asyncio.wait_for(idle.read(-1), 10) == b""
        go_on.set()
        assert (await asyncio.wait_for(reader.read(-1), 10)).endswith(b"0\r\n\r\n")
        await asyncio.wait_for(draining, 10)
        assert here.total("ollama_proxy_requests_total", outcome="complete") == 1


async def test_a_head_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(intake, "HEAD_TIME", 0.2)
    async with standing(lambda _reader, writer: writer.drain()) as here:
        silent, _ = await here.connect()
        reader, writer = await here.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 10)
        assert len(here.clients) == 1  # silence is no offence
        assert not silent.at_eof()


async def test_counts_are_right_to_the_token():
    last = LAST.replace(b'"eval_count":3', b'"eval_count":3,"prompt_eval_count":7')

    async def upstream(reader, writer):
        while True:
            await head_of(reader)
            await reader.readexactly(2)
            writer.write(HEAD + chunk(LINE) * 3 + chunk(last))
            writer.write(b"0\r\n\r\n")

    async with standing(upstream) as here:

        async def client():
            reader, writer = await here.connect()
            for _ in range(20):
                writer.write(ASK)
                await reader.readuntil(b"\r\n0\r\n\r\n")

        await asyncio.gather(*(client() for _ in range(25)))
        await here.until(lambda: here.total("ollama_proxy_requests_in_flight") == 0)
        assert here.total("ollama_proxy_requests_total", outcome="complete", model="tiny") == 500
        assert here.total("ollama_proxy_tokens_total", type="output", source="reported") == 1500
        assert here.total("ollama_proxy_tokens_total", type="input", source="reported") == 3500
        assert here.total("ollama_proxy_time_to_first_token_seconds_count") == 500
        assert here.total("ollama_proxy_inter_token_latency_seconds_count") <= 1000
        assert here.total("ollama_proxy_finishes_total", reason="stop") == 500


async def test_names_of_models_are_those_ollama_confirmed_and_not_too_many():
    async def upstream(reader, writer):
        await head_of(reader)
        body = await reader.readexactly(2)
        status = b"404 Not Found" if body == b"no" else b"200 OK"
        answer = b'{"model":"m%s","response":"","done":true}' % body
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(answer), answer))

    async with standing(upstream) as here:
        ask = ASK.replace(b"Host: me", b"Host: me\r\nConnection: close")
        for number in range(3):
            here.metrics._models |= {f"other-{number}-{index}" for index in range(66)}
            await here.ask(ask[:-2] + b"%02d" % number)
        await here.ask(ask[:-2] + b"99")
        assert here.total("ollama_proxy_requests_total", model="m00") == 1
        assert here.total("ollama_proxy_requests_total", model="_other") == 2
