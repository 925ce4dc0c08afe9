"""Misfortunes and malice: upstreams that stall and lie, clients that crawl, flood and smuggle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.proxy.crowd import Crowd
from exporter.proxy.heads import request_head, response_head
from exporter.proxy.messages import Messages
from exporter.proxy.metrics import Metrics
from exporter.proxy.relay import factory
from exporter.proxy.seen import Counting
from exporter.proxy.upstream import Upstream
from tests.exporter.proxy.standing import head_of, standing
from tests.exporter.proxy.test_relay import ASK, CLOSE, HEAD, LAST, LINE, chunk

POST = b"POST /api/generate HTTP/1.1\r\nHost: me\r\n"
SMUGGLED = {
    "both lengths": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "the other way around": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}GET /admin HTTP/1.1\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 2, 40\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a hidden coding": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}",
    "a coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding after a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding before a vertical tab": POST + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    "a length and a form feed": POST + b"Content-Length: 2\x0c\r\n\r\n{}",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 2\r\n\r\n{}",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}",
    "a name in quotes": POST + b'"Content-Length": 2\r\n\r\n{}',
    "a bare line feed": POST + b"X: y\nContent-Length: 30\r\n\r\n",
    "a bare carriage return": POST + b"X: y\rContent-Length: 30\r\n\r\n",
    "a null": POST + b"X: y\x00\r\nContent-Length: 2\r\n\r\n{}",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "chunks of HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without size": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
    "a chunk with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk in 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk beyond its size": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "a chunk larger than memory": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n",
    "chunks ended by line feeds": POST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
}


@pytest.mark.parametrize("raw", SMUGGLED.values(), ids=SMUGGLED)
async def test_what_two_servers_could_read_differently_reaches_nobody(raw):
    reached = []

    async def upstream(reader, _writer):
        reached.append(await reader.read(1))

    async with standing(upstream) as here:
        assert (await here.ask(raw)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert reached == []
        assert here.total("ollama_proxy_requests_in_flight") == 0


async def test_a_body_that_turns_bad_ends_the_request_upstream_and_is_told_in_words():
    gone = asyncio.Event()

    async def upstream(reader, _writer):
        await head_of(reader)
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)
        gone.set()

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await here.until(lambda: here.total("ollama_proxy_requests_in_flight") == 1)
        writer.write(b"zz\r\n")
        assert (await asyncio.wait_for(reader.read(-1), 10)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        await asyncio.wait_for(gone.wait(), 10)
        assert here.total("ollama_proxy_requests_total", outcome="refused") == 1


async def test_a_bad_request_behind_one_that_is_being_answered_breaks_the_connection():
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await reader.read(-1)

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        await reader.readuntil(b"half of it")
        writer.write(SMUGGLED["both lengths"])
        with pytest.raises(ConnectionResetError):  # an orderly end would make half of it look like all
            await asyncio.wait_for(reader.read(-1), 10)


async def test_a_client_still_sending_hears_why_it_was_refused():
    async with standing(lambda _reader, writer: writer.drain()) as here:
        reader, writer = await here.connect()
        writer.write(POST + b"Content-Length: 1, 2\r\n\r\n" + b"x" * (4 << 20))
        answer = await asyncio.wait_for(reader.read(-1), 10)
        assert answer.endswith(b'{"error": "the length of the body is not clear"}')


async def test_too_many_clients_cost_those_who_ask_nothing_and_the_oldest_first():
    go_on = asyncio.Event()

    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD + chunk(LINE))
        await go_on.wait()
        writer.write(chunk(LAST) + b"0\r\n\r\n")

    async with standing(upstream) as here:
        make = factory(Upstream("127.0.0.1", here.upstream), Counting(here.metrics, "gpu"), here.clients)
        crowd = Crowd(make, here.clients, descriptors=50)
        server = await asyncio.get_running_loop().create_server(crowd, "127.0.0.1", 0)
        here.proxy = server.sockets[0].getsockname()[1]
        streaming, writer = await here.connect()
        writer.write(ASK)
        await streaming.readuntil(LINE)
        idle = [await here.connect() for _ in range(100)]
        await here.until(lambda: len(here.clients) <= 45)
        newest, writer = await here.connect()
        writer.write(ASK)
        await newest.readuntil(LINE)
        go_on.set()
        for reader in (streaming, newest):
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 10)).endswith(b"0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(idle[0][0].read(1), 10)
        assert not idle[-1][0].at_eof()
        server.close()


@pytest.mark.parametrize("size", [1 << 10, 64 << 10])
async def test_a_flood_of_header_fields_is_refused_and_not_kept(size):
    async with standing(lambda _reader, writer: writer.drain()) as here:
        reader, writer = await here.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: me\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range((8 << 20) // size):
                writer.write(b"X-%d: %s\r\n" % (number, b"a" * size))
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await asyncio.wait_for(reader.read(100), 10)).startswith(b"HTTP/1.1 431 ")
        await here.until(lambda: not here.clients)


async def test_a_flood_of_requests_on_one_connection_is_cut_off():
    async def upstream(reader, _writer):
        await reader.read(1)
        await asyncio.sleep(30)

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                writer.write(b"GET / HTTP/1.1\r\nHost: me\r\n\r\n" * 500)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(-1), 10)
        await here.until(lambda: not here.clients)
        assert here.total("ollama_proxy_requests_total") <= 1_000


async def test_each_byte_of_a_slow_writer_goes_on_as_it_comes():
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def upstream(reader, writer):
        await head_of(reader)
        for _ in range(20):
            seen.put_nowait(await reader.readexactly(1))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(POST + b"Content-Length: 20\r\n\r\n")
        for number in range(20):
            writer.write(b"%d" % (number % 10))
            assert await asyncio.wait_for(seen.get(), 10) == b"%d" % (number % 10)
        await reader.readuntil(b"ok")


async def test_an_upload_that_the_upstream_does_not_take_waits_at_the_client():
    async def upstream(reader, _writer):
        await head_of(reader)
        await asyncio.sleep(60)

    async with standing(upstream) as here:
        _, writer = await here.connect()
        writer.write(POST + b"Content-Length: 1000000000\r\n\r\n")
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15):
                while True:
                    writer.write(b"x" * 65536)
                    await asyncio.wait_for(writer.drain(), 1)
                    sent += 65536
        assert 0 < sent < 64 << 20
        (client,) = here.clients
        assert client._way.server._transport.get_write_buffer_size() < 2 << 20
        writer.transport.abort()


async def test_a_client_that_closes_its_side_still_gets_its_answer():
    async def upstream(reader, writer):
        await reader.read(-1)  # until the client has sent its last byte
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        writer.write_eof()
        assert (await asyncio.wait_for(reader.read(-1), 10)).endswith(b"hello")


async def test_an_upstream_that_answers_late_or_stalls_is_waited_for():
    go_on = asyncio.Event()

    async def upstream(reader, writer):
        await head_of(reader)
        await go_on.wait()
        writer.write(HEAD + chunk(LINE))
        go_on.clear()
        await go_on.wait()
        writer.write(chunk(LAST) + b"0\r\n\r\n")

    async with standing(upstream) as here:
        reader, writer = await here.connect()
        writer.write(ASK)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        assert here.total("ollama_proxy_requests_in_flight") == 1
        go_on.set()
        await asyncio.wait_for(reader.readuntil(LINE), 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readuntil(LAST), 0.3)
        go_on.set()
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)


async def test_an_upstream_that_goes_without_a_word_leaves_none():
    async def upstream(reader, _writer):
        await head_of(reader)

    async with standing(upstream) as here:
        assert await here.ask(CLOSE) == b""
        assert here.total("ollama_proxy_requests_total", outcome="aborted", code="") == 1


ERRORS = {
    "native": ("/api/chat", b"application/x-ndjson", LINE, b'{"error":"an error was encountered"}\n'),
    "openai": (
        "/v1/chat/completions",
        b"text/event-stream",
        b'data: {"model":"tiny","choices":[{"delta":{"content":"a"}}]}\n\n',
        b'data: {"error":{"message":"runner died","type":"api_error"}}\n\n',
    ),
    "anthropic": (
        "/v1/messages",
        b"text/event-stream",
        b'data: {"type":"message_start","message":{"model":"tiny","content":[],"usage":{"input_tokens":2}}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"runner died"}}\n\n',
    ),
}


@pytest.mark.parametrize("dialect", ERRORS)
async def test_an_error_in_mid_stream_is_a_failure_though_the_status_was_200(dialect):
    path, kind, line, error = ERRORS[dialect]

    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(2)
        writer.write(HEAD.replace(b"application/x-ndjson", kind) + chunk(line) + chunk(error) + b"0\r\n\r\n")

    async with standing(upstream) as here:
        assert chunk(error) in await here.ask(ASK.replace(b"/api/generate", path.encode()))
        labels = {"endpoint": path, "model": "tiny", "code": "200", "outcome": "failed"}
        assert here.total("ollama_proxy_requests_total", **labels) == 1


async def test_a_full_queue_of_ollamas_own_is_seen():
    body = b'{"error":"server busy, please try again. maximum pending requests exceeded"}'
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(answer)

    async with standing(upstream) as here:
        assert await here.ask(ASK) == answer
        assert here.total("ollama_proxy_requests_total", code="503", outcome="failed", model="_unknown") == 1
        assert here.total("ollama_proxy_refused_total") == 0  # that is Ollama's refusal and not ours


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=30, deadline=None)
def test_garbage_of_an_upstream_arrives_as_it_is(garbage, after_a_head):
    raw = HEAD * after_a_head + garbage

    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(raw)

    async def scene():
        async with standing(upstream) as here:
            assert await here.ask(CLOSE) == raw
            assert here.total("ollama_proxy_requests_in_flight") == 0

    asyncio.run(scene())


# --- what is read, however it is cut ---

CONTENTS = st.one_of(
    st.text(min_size=1, max_size=30), st.sampled_from(['"done":true', '{"usage":{}}', "é" * 40, "x" * (1 << 20)])
)
KINDS = st.sampled_from(["native", "openai", "anthropic"])


def lines_of(kind: str, contents: list[str], tokens: int) -> tuple[list[bytes], bytes]:
    """A stream's lines, and its content type."""

    def dump(one: object) -> bytes:
        return json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode()

    if kind == "native":
        said = [{"model": "m", "message": {"role": "assistant", "content": text}, "done": False} for text in contents]
        last = {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop", "total_duration": 9}
        return [dump(one) + b"\n" for one in [*said, last | {"eval_count": tokens}]], b"application/x-ndjson"
    if kind == "openai":
        chunks = [{"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": None}]} for text in contents]
        chunks.append({"model": "m", "choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]})
        chunks.append({"model": "m", "choices": [], "usage": {"completion_tokens": tokens}})
        return [b"data: %s\n\n" % dump(one) for one in chunks] + [b"data: [DONE]\n\n"], b"text/event-stream"
    events = [{"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 0}}}]
    events += [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in contents]
    events += [{"type": "message_delta", "delta": {"stop_reason": "stop"}, "usage": {"output_tokens": tokens}}]
    return [b"event: %s\ndata: %s\n\n" % (str(one["type"]).encode(), dump(one)) for one in events], b"text/event-stream"


@given(
    kind=KINDS,
    contents=st.lists(CONTENTS, min_size=1, max_size=8),
    tokens=st.integers(1, 10**9),
    together=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    cuts=st.lists(st.one_of(st.integers(1, 200), st.just(1 << 18)), min_size=1, max_size=30),
)
@settings(deadline=None)
def test_what_is_read_of_a_stream_does_not_depend_on_its_cuts(kind, contents, tokens, together, cuts):
    lines, content_type = lines_of(kind, contents, tokens)
    raw = HEAD.replace(b"application/x-ndjson", content_type)
    at = number = 0
    while at < len(lines):  # several lines in a chunk
        raw += chunk(b"".join(lines[at : at + together[number % len(together)]]))
        at, number = at + together[number % len(together)], number + 1
    raw += b"0\r\n\r\n"
    metrics = Metrics()
    seen = Counting(metrics, "gpu").begun(request_head(POST + b"\r\n"), 0.0)
    messages = Messages(lambda head: (found := response_head(head, "POST"), found.framing))
    passed = b""
    at = number = 0
    while at < len(raw):
        size = cuts[number % len(cuts)] if number < 400 else 1 << 18  # a line of MiB byte by byte takes too long
        for piece in messages.feed(raw[at : at + size]):
            passed += piece.raw
            if piece.head:
                seen.answered(piece.head, float(number))
            seen.received(piece.content, float(number))
        at, number = at + size, number + 1
    assert passed == raw
    assert messages.between
    seen.ended("complete", float(number))
    by = ("gpu", "m", "/api/generate")
    assert metrics.tokens._kept[(*by, "output", "reported")] == tokens
    assert metrics.finishes._kept == {(*by, "stop"): 1}
    assert metrics.requests._kept == {(*by, "200", "complete"): 1}
    assert seen._body.timing.pieces == len(contents)


async def test_many_clients_of_every_dialect_are_counted_to_the_token():
    chance = random.Random(7)  # noqa: S311
    asked: list[tuple[str, int]] = []

    paths = {"native": b"/api/chat", "openai": b"/v1/chat/completions", "anthropic": b"/v1/messages"}

    async def upstream(reader, writer):
        while True:
            head = await head_of(reader)
            kind = next(kind for kind, path in paths.items() if b" %s " % path in head)
            lines, content_type = lines_of(kind, ["a"] * 3, int(await reader.readexactly(6)))
            writer.write(HEAD.replace(b"application/x-ndjson", content_type))
            for line in lines:
                writer.write(chunk(line))
                if chance.random() < 0.2:
                    await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

    async with standing(upstream) as here:

        async def client():
            reader, writer = await here.connect()
            for _ in range(10):
                kind, tokens = chance.choice(list(paths)), chance.randrange(1, 10**5)
                asked.append((kind, tokens))
                writer.write(b"POST %s HTTP/1.1\r\nHost: me\r\nContent-Length: 6\r\n\r\n%06d" % (paths[kind], tokens))
                await reader.readuntil(b"\r\n0\r\n\r\n")

        await asyncio.gather(*(client() for _ in range(100)))
        await here.until(lambda: here.total("ollama_proxy_requests_in_flight") == 0)
        for kind, path in paths.items():
            counted = here.total("ollama_proxy_tokens_total", type="output", source="reported", endpoint=path.decode())
            assert counted == sum(tokens for of, tokens in asked if of == kind)
        assert here.total("ollama_proxy_requests_total", outcome="complete") == 1000
