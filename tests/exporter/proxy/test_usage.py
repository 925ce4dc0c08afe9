"""Tokens that are asked for on the way: the client sees a stream as if nobody had, and the counts are exact."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy import usage
from exporter.proxy.heads import response_head
from exporter.proxy.messages import Messages, Piece
from exporter.proxy.usage import Without, with_option
from tests.exporter.proxy.recorded import FIXTURES
from tests.exporter.proxy.standing import head_of, standing
from tests.exporter.proxy.test_relay import chunk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WITH = [event + b"\n\n" for event in (FIXTURES / "openai-chat-stream.txt").read_bytes().split(b"\n\n")[:-1]]
WITHOUT = [event for event in WITH if b'"usage"' not in event]
TEXT = b'data: {"id":"1","object":"text_completion","model":"tiny","choices":[%s]%s}\n\n'
ZEROS = b',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'


async def ollama(reader, writer):
    """As Ollama does: usage for who asks for it, at the end in one chunk with what is around it."""
    while True:
        head = await head_of(reader)
        if b"chunked" in head:
            size = int(await reader.readline(), 16)
            body = await reader.readexactly(size)
            await reader.readexactly(7)
        else:
            body = await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        asked = json.loads(body)
        events = WITH if (asked.get("stream_options") or {}).get("include_usage") else WITHOUT
        writer.write(HEAD + chunk(events[0]) + chunk(events[1]) + chunk(b"".join(events[2:])) + b"0\r\n\r\n")


def asking(body: bytes, path: bytes = b"/v1/chat/completions", more: bytes = b"") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: me\r\n%sContent-Length: %d\r\n\r\n%s" % (path, more, len(body), body)


STREAM = b'{"model":"tiny","stream":true,"messages":[{"role":"user","content":"{\\"stream_options\\":1}"}]}'
BODIES = {
    "a stream": (STREAM, "reported"),
    "in another form": (b' \n { "stream" : true, "model": "tiny" }', "reported"),
    "asked for": (STREAM[:-1] + b',"stream_options":{"include_usage":true}}', "reported"),
    "declined": (STREAM[:-1] + b',"stream_options":{"include_usage":false}}', "estimated"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_gets_what_it_would_and_tokens_are_counted(name, chunked):
    body, source = BODIES[name]
    raw = asking(body)
    if chunked:
        raw = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", raw[: -len(body)])
        raw += chunk(body) + b"0\r\n\r\n"
    async with standing(ollama, request_usage=True) as here:
        answers = []
        for direct in (True, False):
            reader, writer = await here.connect(direct=direct)
            for _ in range(2):  # and the connection goes on
                writer.write(raw)
                answers.append(await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 10))
        assert len(set(answers)) == 1
        expected = 8 if source == "reported" else 2
        assert here.total("ollama_proxy_tokens_total", type="output", source=source) == 2 * expected


@pytest.mark.parametrize("size", [1, 7, 50])
async def test_a_request_in_pieces_goes_on_when_it_is_whole(size):
    async with standing(ollama, request_usage=True) as here:
        reader, writer = await here.connect()
        raw = asking(STREAM)
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 10)
        assert b'"usage"' not in answer
        assert answer.endswith(chunk(b"".join(WITHOUT[2:])) + b"0\r\n\r\n")


async def test_a_request_too_large_to_hold_and_one_not_asked_for_are_passed_on_as_they_are(monkeypatch):
    monkeypatch.setattr(usage, "LONGEST", 300)
    seen = []

    async def upstream(reader, writer):
        for raw in sent:
            seen.append(await reader.readexactly(len(raw.replace(b"Host: me", b"Host: ollama:11434"))))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    long = b'{"stream":true,"x":"%s"}' % (b"y" * 1000)
    sent = [
        asking(long),
        asking(b"", more=b"Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
        + b"".join(chunk(long[at : at + 100]) for at in range(0, len(long), 100))
        + b"0\r\n\r\n",
        asking(STREAM, b"/v1/responses"),
        asking(STREAM, b"/api/chat"),
        asking(STREAM, more=b"Expect: 100-continue\r\n"),
        asking(STREAM, more=b"Content-Encoding: gzip\r\n"),
        asking(STREAM.replace(b"true", b"false")),
        asking(b"[1]"),
        asking(b'{"stream":true'),
    ]
    async with standing(upstream, request_usage=True) as here:
        reader, writer = await here.connect()
        for raw in sent:
            writer.write(raw)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 10)
    assert [raw.replace(b"Host: ollama:11434", b"Host: me") for raw in seen] == sent


async def test_what_was_on_its_way_when_ollama_died_arrives_and_does_not_look_whole():
    async def upstream(reader, writer):
        await head_of(reader)
        await reader.readexactly(len(STREAM) + len(usage._OPTION))
        writer.write(HEAD + chunk(WITH[0]) + chunk(WITH[1][:20]))

    async with standing(upstream, request_usage=True) as here:
        answer = await here.ask(asking(STREAM))
        assert answer == HEAD + chunk(WITH[0]) + chunk(WITH[1][:20])
        assert here.total("ollama_proxy_requests_total", outcome="aborted") == 1


async def test_an_answer_that_is_not_understood_is_broken_off():
    async def upstream(reader, writer):
        await head_of(reader)
        writer.write(HEAD + b"zz\r\n")
        await reader.read(-1)

    async with standing(upstream, request_usage=True) as here:
        with pytest.raises(ConnectionResetError):
            assert await here.ask(asking(STREAM)) == b""


def passed(raw: bytes, cuts: list[int]) -> bytes:
    messages = Messages(lambda head: (found := response_head(head, "POST"), found.framing))
    without, out, at, number = Without(), b"", 0, 0
    while at < len(raw):
        end = at + cuts[number % len(cuts)]
        out += b"".join(map(without.feed, messages.feed(raw[at:end])))
        at, number = end, number + 1
    return out


def content(raw: bytes) -> bytes:
    messages: Messages = Messages(lambda head: (found := response_head(head, "POST"), found.framing))
    pieces: list[Piece] = messages.feed(raw)
    assert messages.between
    return b"".join(b"".join(piece.content) for piece in pieces)


@given(
    together=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 80), min_size=1, max_size=20),
)
def test_the_event_is_taken_out_however_it_is_cut(together, cuts):
    raw, at, number = HEAD, 0, 0
    while at < len(WITH):
        raw += chunk(b"".join(WITH[at : at + together[number % len(together)]]))
        at, number = at + together[number % len(together)], number + 1
    assert content(passed(raw + b"0\r\n\r\n", cuts)) == b"".join(WITHOUT)


def test_chunks_that_say_nothing_of_usage_stay_as_they_came():
    raw = HEAD + b"".join(map(chunk, WITHOUT)) + b"0\r\n\r\n"
    assert passed(raw, [len(raw)]) == raw


def test_the_zeros_of_text_completions_go_too_and_text_that_looks_like_them_stays():
    piece = b'{"text":"say \\"usage\\":{} and ,\\"usage\\":{\\"a\\":1}"}'
    events = TEXT % (piece, ZEROS) + TEXT % (b"", ZEROS) + b"data: [DONE]\n\n"
    assert content(passed(HEAD + chunk(events) + b"0\r\n\r\n", [1000])) == TEXT % (piece, b"") + b"data: [DONE]\n\n"


@pytest.mark.parametrize("kind", [b"application/json", b"application/x-ndjson"])
def test_other_answers_stay_as_they_came(kind):
    body = b'{"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    raw = HEAD.replace(b"text/event-stream", kind) + chunk(body) + b"0\r\n\r\n"
    assert passed(raw, [9]) == raw


def test_the_option_is_the_only_change_to_a_request():
    assert json.loads(with_option(STREAM)) == {**json.loads(STREAM), "stream_options": {"include_usage": True}}
    assert with_option(STREAM).replace(usage._OPTION, b"") == STREAM
