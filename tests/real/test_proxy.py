"""The proxy before a real Ollama: the same bytes as without it, and numbers that are right."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.running import until
from tests.exporter.proxy.process import Proxied
from tests.exporter.proxy.process import proxied as before
from tests.real.ollama_server import OllamaServer, running

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
DAY = int(os.environ.get("PROXY_DAY", "1000"))
GREEDY = {"temperature": 0, "seed": 7, "num_predict": 8}
MESSAGES = [{"role": "user", "content": "hello"}]
# What no two answers of one server have in common: times, with the lengths that follow from how many digits they have,
# and the numbers OpenAI's dialect gives its answers.
VOLATILE = re.compile(
    rb'Date: [^\r]*|(?<=Content-Length: )[0-9]+|"(?:created_at|modified_at|expires_at)":"[^"]*"|"\w+_duration":[0-9]+'
    rb'|"created":[0-9]+|"(?:chat)?cmpl-[0-9]+"'
)
REQUESTS = {
    "version": ("GET", "/api/version", None),
    "head": ("HEAD", "/", None),
    "tags": ("GET", "/api/tags", None),
    "show": ("POST", "/api/show", {"model": "tiny"}),
    "generate": ("POST", "/api/generate", {"model": "tiny", "prompt": "hello", "options": GREEDY}),
    "generate whole": ("POST", "/api/generate", {"model": "tiny", "prompt": "a", "stream": False, "options": GREEDY}),
    "chat": ("POST", "/api/chat", {"model": "tiny", "messages": MESSAGES, "options": GREEDY}),
    "embed": ("POST", "/api/embed", {"model": "tiny", "input": "hello"}),
    "no such model": ("POST", "/api/chat", {"model": "no-such-model", "messages": MESSAGES}),
    "no such path": ("GET", "/api/nothing?x=%2f", None),
    "openai": (
        "POST",
        "/v1/chat/completions",
        {"model": "tiny", "messages": MESSAGES, "max_tokens": 8, "temperature": 0, "seed": 7},
    ),
    "openai stream": (
        "POST",
        "/v1/chat/completions",
        {"model": "tiny", "messages": MESSAGES, "max_tokens": 8, "temperature": 0, "seed": 7, "stream": True},
    ),
    "openai models": ("GET", "/v1/models", None),
}


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    with running(tmp_path_factory.mktemp("ollama")) as server:
        server.http.post("/api/generate", json={"model": "tiny", "keep_alive": -1}).raise_for_status()
        yield server


@pytest.fixture
def proxied(tmp_path: Path, ollama: OllamaServer) -> Iterator[Proxied]:
    with before(tmp_path, ollama.url) as made:
        yield made


def raw_request(method: str, path: str, body: dict[str, Any] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    length = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}Connection: close\r\n\r\n".encode() + content


def answer(port: int, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(raw)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def without_the_volatile(raw: bytes) -> bytes:
    """Also without the sizes of chunks, which change with the digits of a duration."""
    return re.sub(rb"(^|\r\n)[0-9a-f]+\r\n", rb"\1SIZE\r\n", VOLATILE.sub(b"*", raw))


@pytest.mark.parametrize("name", REQUESTS)
def test_every_byte_is_ollamas(proxied: Proxied, ollama: OllamaServer, name: str) -> None:
    raw = raw_request(*REQUESTS[name])
    direct, through = answer(ollama.port, raw), answer(proxied.port, raw)
    assert without_the_volatile(through) == without_the_volatile(direct)
    assert through.startswith(b"HTTP/1.1 ")


def test_a_day_of_requests_has_no_other_byte(proxied: Proxied, ollama: OllamaServer) -> None:
    """PROXY_DAY requests of every kind in no order, by four clients at once; a busy team asks 10,000 times a day."""
    raws = [raw_request(*REQUESTS[name]) for name in REQUESTS]
    wanted = {raw: without_the_volatile(answer(ollama.port, raw)) for raw in raws}
    asked = random.Random(7).choices(raws, k=DAY)  # noqa: S311 -- an order, not a secret
    with ThreadPoolExecutor(4) as clients:
        differing = [
            (raw, got)
            for raw, got in zip(asked, clients.map(lambda raw: answer(proxied.port, raw), asked), strict=True)
            if without_the_volatile(got) != wanted[raw]
        ]
    assert differing == []
    until(lambda: proxied.value("ollama_proxy_requests_in_flight") == 0, "every request to end")
    assert proxied.value("ollama_proxy_requests_total") == DAY


def test_what_is_counted_is_what_ollama_says(proxied: Proxied) -> None:
    with httpx.Client(base_url=proxied.url, trust_env=False, timeout=60) as http:
        said = [
            http.post("/api/chat", json={"model": "tiny", "messages": MESSAGES, "options": GREEDY, "stream": False})
            for _ in range(3)
        ]
        with http.stream("POST", "/api/generate", json={"model": "tiny", "prompt": "a", "options": GREEDY}) as stream:
            last = json.loads(list(stream.iter_lines())[-1])
    objects = [one.json() for one in said] + [last]
    for kind, key in (("input", "prompt_eval_count"), ("output", "eval_count")):
        counted = proxied.value("ollama_proxy_tokens_total", 'model="tiny"', f'type="{kind}"', 'source="reported"')
        assert counted == sum(one.get(key, 0) for one in objects)
    assert proxied.value("ollama_proxy_requests_total", 'outcome="complete"', 'model="tiny"') == 4
    assert proxied.value("ollama_proxy_time_to_first_token_seconds_count", 'start="warm"', 'target="gpu"') == 1
    assert proxied.value("ollama_proxy_request_phase_seconds_count", 'phase="wait"') == 4


def test_many_clients_at_once_are_counted_exactly(proxied: Proxied) -> None:
    def ask() -> None:
        with httpx.Client(base_url=proxied.url, trust_env=False, timeout=60) as http:
            for _ in range(5):
                http.post("/api/generate", json={"model": "tiny", "prompt": "a", "options": GREEDY}).raise_for_status()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxied.value("ollama_proxy_requests_total", 'outcome="complete"', 'code="200"') == 30
    assert proxied.value("ollama_proxy_requests_in_flight") == 0


def test_a_client_that_leaves_frees_the_model(proxied: Proxied) -> None:
    body = {"model": "tiny", "prompt": "a", "options": {"num_predict": 100_000, "num_ctx": 64}}
    with httpx.stream("POST", f"{proxied.url}/api/generate", json=body, trust_env=False, timeout=60) as stream:
        next(stream.iter_lines())
    until(lambda: proxied.value("ollama_proxy_requests_total", 'outcome="cancelled"') == 1, "the request is cancelled")
    quick = httpx.post(
        f"{proxied.url}/api/generate",
        json={"model": "tiny", "prompt": "a", "options": GREEDY},
        trust_env=False,
        timeout=60,
    )
    assert quick.status_code == 200


def test_an_answer_under_way_survives_the_end_of_the_proxy(proxied: Proxied) -> None:
    body = {"model": "tiny", "prompt": "a", "options": {"num_predict": 200, "temperature": 0}}
    with httpx.stream("POST", f"{proxied.url}/api/generate", json=body, trust_env=False, timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        proxied.process.send_signal(signal.SIGTERM)
        assert json.loads(list(lines)[-1])["done"] is True
    assert proxied.process.wait(20) == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_tokens_asked_for_on_the_way_do_not_show(tmp_path: Path, ollama: OllamaServer, path: str) -> None:
    body = {"model": "tiny", "prompt": "a", "messages": MESSAGES, "max_tokens": 8, "temperature": 0, "seed": 7}
    raw = raw_request("POST", path, body | {"stream": True})
    said = httpx.post(f"{ollama.url}{path}", json=body, trust_env=False, timeout=60).json()["usage"]
    with before(tmp_path, ollama.url, request_usage=True) as proxy:
        direct, through = answer(ollama.port, raw), answer(proxy.port, raw)
        assert without_the_volatile(through) == without_the_volatile(direct)
        labels = (f'endpoint="{path}"', 'source="reported"')
        for kind, name in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            assert proxy.value("ollama_proxy_tokens_total", f'type="{kind}"', *labels) == said[name]
