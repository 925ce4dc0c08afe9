"""How full a model's context is, by Ollama's own word, and how seldom it is asked for that."""

from __future__ import annotations

import asyncio
import json

import pytest

from exporter.proxy import contexts
from tests.exporter.proxy.recorded import FIXTURES
from tests.exporter.proxy.standing import head_of, standing

PS = (FIXTURES / "ps.json").read_bytes()  # tiny:latest with 2048
TINY = b"POST /api/generate HTTP/1.1\r\nHost: me\r\nContent-Length: 2\r\n\r\n{}"


class Ollama:
    """Says /api/ps, and that a prompt had `read` tokens."""

    def __init__(self, ps: bytes = PS, status: bytes = b"200 OK") -> None:
        self.ps, self.status = ps, status
        self.read, self.written, self.finish = 1024, 10, "stop"
        self.model = "tiny"
        self.asked = 0

    async def __call__(self, reader, writer):
        while True:
            head = await head_of(reader)
            if b" /api/ps " in head:
                self.asked += 1
                status, body = self.status, self.ps
            else:
                await reader.readexactly(2)
                status, body = b"200 OK", json.dumps(self.said()).encode()
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            if b"Connection: close" in head:
                return

    def said(self):
        counts = {"prompt_eval_count": self.read, "eval_count": self.written, "done_reason": self.finish}
        return {"model": self.model, "response": "", "done": True, "total_duration": 9, **counts}


async def ask(here, times=1):
    reader, writer = await here.connect()
    for _ in range(times):
        writer.write(TINY)
        await asyncio.wait_for(reader.readuntil(b"}"), 10)
    writer.close()


async def test_it_is_known_from_the_first_answer_on_and_asked_once():
    ollama = Ollama()
    async with standing(ollama, ask_ps=True) as here:
        await asyncio.gather(*(ask(here, 5) for _ in range(10)))
        await here.until(lambda: here.total("ollama_proxy_context_used_ratio_count") == 50)
        assert here.total("ollama_proxy_context_used_ratio_sum", model="tiny") == 25
        assert here.total("ollama_proxy_truncated_total") == 0
        assert ollama.asked == 1
        assert here.total("ollama_proxy_requests_total") == 50  # what we ask ourselves is nobody's request


@pytest.mark.parametrize(
    ("read", "written", "finish", "what"),
    [
        (2048, 5, "stop", {"prompt": 1}),
        (2040, 8, "length", {"answer": 1}),
        (2000, 48, "stop", {}),
        (100, 8, "length", {}),  # as many as the client wanted
    ],
)
async def test_what_filled_the_context_is_counted(read, written, finish, what):
    ollama = Ollama()
    ollama.read, ollama.written, ollama.finish = read, written, finish
    async with standing(ollama, ask_ps=True) as here:
        await ask(here)
        await here.until(lambda: here.total("ollama_proxy_context_used_ratio_count") == 1)
        for one in ("prompt", "answer"):
            assert here.total("ollama_proxy_truncated_total", what=one) == what.get(one, 0)


OLD = json.loads(PS)
del OLD["models"][0]["context_length"]
UNKNOWN = {
    "an Ollama before 0.10": Ollama(json.dumps(OLD).encode()),
    "another model": Ollama(PS.replace(b"tiny", b"other")),
    "no JSON": Ollama(b"<html>"),
    "not an object": Ollama(b"[1]"),
    "odd values": Ollama(b'{"models":[1,{"model":"tiny","context_length":"2048"},{"model":7,"context_length":0}]}'),
    "refused": Ollama(PS, b"401 Unauthorized"),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_what_is_not_known_is_absent_and_not_asked_for_at_each_answer(name):
    ollama = UNKNOWN[name]
    async with standing(ollama, ask_ps=True) as here:
        await ask(here, 10)
        await here.until(lambda: ollama.asked == 1)
        await ask(here, 10)
        assert ollama.asked == 1
        assert here.total("ollama_proxy_context_used_ratio_count") == 0
        assert here.total("ollama_proxy_requests_total", outcome="complete") == 20


async def test_a_model_that_is_loaded_again_may_have_another_length(monkeypatch):
    monkeypatch.setattr(contexts, "FRESH", 0.05)
    ollama = Ollama()
    async with standing(ollama, ask_ps=True) as here:
        await ask(here)
        await here.until(lambda: here.total("ollama_proxy_context_used_ratio_sum") == 0.5)
        ollama.ps = PS.replace(b"2048", b"1024")
        await asyncio.sleep(0.1)
        await ask(here)
        await here.until(lambda: here.total("ollama_proxy_context_used_ratio_sum") == 1.5)
        assert here.total("ollama_proxy_truncated_total", what="prompt") == 1


async def test_an_ollama_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(contexts, "TIMEOUT", 0.1)
    ollama = Ollama()

    async def upstream(reader, writer):
        head = await reader.readuntil(b"\r\n")
        if b"/api/ps" in head:
            ollama.asked += 1
            await reader.read(-1)
            return
        await head_of(reader)
        await reader.readexactly(2)
        body = json.dumps(ollama.said()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with standing(upstream, ask_ps=True) as here:
        await ask(here)
        await here.until(lambda: ollama.asked == 1)
        await asyncio.sleep(0.3)
        assert here.total("ollama_proxy_context_used_ratio_count") == 0
        assert len(asyncio.all_tasks()) < 8
