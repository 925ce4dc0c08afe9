"""What the proxy shows after a day in small: real answers of Ollama 0.17.4 through it, one of each way to end.

What a clock measures is put in place of what this machine took, so that the golden is the same everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.proxy.metrics import Histogram, Metrics
from tests.exporter.golden import Golden
from tests.exporter.proxy.recorded import FIXTURES
from tests.exporter.proxy.standing import Standing, head_of, standing

CHAT = (FIXTURES / "chat-stream.txt").read_bytes()
LAST = json.loads(CHAT.splitlines()[-1])
COLD = LAST | {"load_duration": 3_210_000_000, "total_duration": 3_380_000_000}
FULL = LAST | {"prompt_eval_count": 2048}
CALL = {"model": "tiny", "message": {"content": "", "tool_calls": [{"function": {"name": "f"}}]}, "done": False}


def line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


NATIVE, EVENTS, WHOLE = (b"application/x-ndjson", b"\n"), (b"text/event-stream", b"\n\n"), (b"application/json", b"")
BEGINNING = CHAT[: CHAT.rindex(b'{"model"')]
ANSWERS = {
    "warm": (NATIVE, CHAT),
    "cold": (NATIVE, BEGINNING + line(COLD)),
    "full": (NATIVE, BEGINNING + line(FULL)),
    "tools": (NATIVE, line(CALL) + line(LAST)),
    "whole": (WHOLE, (FIXTURES / "generate-nostream.json").read_bytes()),
    "openai": (EVENTS, (FIXTURES / "openai-chat-stream.txt").read_bytes()),
    "anthropic": (EVENTS, (FIXTURES / "messages-stream.txt").read_bytes()),
    "broken": (NATIVE, BEGINNING + b'{"error":"the runner has ended"}\n'),
    "left": (NATIVE, CHAT),
    "ps": (WHOLE, (FIXTURES / "ps.json").read_bytes()),
}
ASKED = (
    ("/api/chat", "cold"),
    *[("/api/chat", "warm")] * 7,
    ("/api/chat", "full"),
    ("/api/chat", "tools"),
    ("/api/chat", "broken"),
    ("/api/chat", "abort"),
    ("/api/chat", "busy"),
    ("/api/chat", "missing"),
    ("/api/chat", "left"),
    ("/api/generate", "whole"),
    ("/v1/chat/completions", "openai"),
    ("/v1/messages", "anthropic"),
    ("/api/tags", "ps"),
    ("/api/delete", "forbidden"),
)


class Ollama:
    """Answers with what a request names, once a connection; the next piece when the one before has arrived."""

    def __init__(self) -> None:
        self.arrived = asyncio.Semaphore(0)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        wanted = b"ps" if b" /api/ps " in head else head.partition(b"X-Answer: ")[2].partition(b"\r\n")[0]
        if b"Content-Length: 16" in head:
            await reader.readexactly(16)
        if wanted == b"busy":
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        elif wanted == b"missing":
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        elif wanted == b"abort":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 999\r\n\r\n")
        else:
            (kind, end), body = ANSWERS[wanted.decode()]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            writer.write(head % (kind, len(body)))
            for piece in body.split(end)[:-1] if end else ():
                writer.write(piece + end)
                if wanted == b"left":
                    await reader.read(-1)
                    return
                await self.arrived.acquire()
            if not end:
                writer.write(body)


def steady(histogram: Histogram, **by_label: float) -> None:
    """Has it observe, for each key with one of these labels, a number that no clock has measured."""
    observe = histogram.observe

    def instead(key, value, times=1):
        said = next((number for label, number in by_label.items() if label in key), by_label.get("every", value))
        observe(key, said, times)

    histogram.observe = instead  # type: ignore[method-assign]


def hold(metrics: Metrics) -> None:
    """In place of what this machine took."""
    steady(metrics.duration, every=1.875)
    steady(metrics.first_token, cold=3.5, every=0.1875)
    steady(metrics.between, every=0.03125)
    steady(metrics.phases, wait=0.0625)
    steady(metrics.queue_time, every=0.0)


async def ask(here: Standing, ollama: Ollama, path: str, answer: str) -> None:
    before = here.total("ollama_proxy_requests_total")
    head = f"POST {path} HTTP/1.1\r\nHost: me\r\nX-User: ana\r\nX-Answer: {answer}\r\nContent-Length: 16\r\n"
    reader, writer = await here.connect()
    writer.write(f'{head}Connection: close\r\n\r\n{{"model":"tiny"}}'.encode())
    end = ANSWERS[answer][0][1] if answer in ANSWERS else b""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        while end:
            await reader.readuntil(end)
            if answer == "left":
                writer.close()
                break
            ollama.arrived.release()
        if answer != "left":
            await reader.read(-1)
    await here.until(lambda: here.total("ollama_proxy_requests_total") == before + 1)


async def test_everything_it_shows(golden: Golden):
    keys = {
        "users": {"by": "header", "header": "X-User", "show": "plain"},
        "prices": {"*": {"input": 0.1, "output": 0.3}},
        "limits": {"concurrent": 4, "queue": 0},
        "paths": ["/api/chat", "/api/generate", "/api/tags", "/v1/*"],
    }
    ollama = Ollama()
    async with standing(ollama, ask_ps=True, target="gpu-1", **keys) as here:
        hold(here.metrics)
        for path, answer in ASKED:
            await ask(here, ollama, path, answer)
        await here.ask(b"GET / HTTP/1.1\r\nHost: me\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        answered = sum(answer in ANSWERS and answer not in ("broken", "left", "ps") for _, answer in ASKED)
        await here.until(lambda: here.total("ollama_proxy_context_used_ratio_count") == answered)
        registry = CollectorRegistry()
        registry.register(here.metrics)
        golden.texts(generate_latest(registry).decode(), generate_openmetrics(registry).decode(), "proxy", "0.17.4")
