"""The official clients and Open WebUI through the proxy before a real Ollama: they do not notice it.

An Ollama that does not know /v1/messages or /v1/responses yet cannot be asked in these dialects;
tests/exporter/proxy/test_clients.py has them recorded. The last line of the run says which it was.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from tests.exporter.proxy.process import Proxied, proxied
from tests.real.conftest import LAST_LINES
from tests.real.ollama_server import MODULE, OllamaServer, running, wait_until
from tests.real.openwebui_server import CACHE, VERSION
from tests.real.openwebui_server import running as openwebui
from tests.real.tiny_gguf import write_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
DAY = int(os.environ.get("PROXY_DAY", "1000"))
HELLO: Any = [{"role": "user", "content": "hello"}]
GREEDY = {"temperature": 0, "seed": 7, "num_predict": 8}
COLD = {"temperature": 0}
FIXED: dict[str, Any] = {"model": "tiny", "max_tokens": 8, "temperature": 0, "seed": 7}
# Moments, durations and numbers of answers, which no two answers share.
VOLATILE = re.compile(
    r'"(?:created_at|modified_at|expires_at)": ?"[^"]*"|"\w+_duration": ?\d+|"created": ?\d+|"(?:chat)?cmpl-\d+"'
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    with running(tmp_path_factory.mktemp("ollama")) as made:
        made.http.post("/api/generate", json={"model": "tiny", "keep_alive": -1}).raise_for_status()
        version = made.http.get("/api/version").json()["version"]
        if version == "0.0.0":  # what one that Go installed calls itself
            version = f"({MODULE.rpartition('@')[2]} if it was built here)"
        known = [path for path in ("/v1/messages", "/v1/responses") if made.http.post(path, json={}).status_code != 404]
        LAST_LINES.append(
            f"the proxy before Ollama {version}: its own and OpenAI's dialects"
            + "".join(f", {path}" for path in known)
            + ("" if len(known) == 2 else "; /v1/messages and /v1/responses as recorded from 0.17.4 (make test)")
        )
        yield made


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, server: OllamaServer) -> Iterator[Proxied]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        with proxied(tmp_path_factory.mktemp("proxy"), server.url) as proxy:
            yield proxy


def shown(value: Any) -> Any:
    """What a client made of an answer, without the volatile."""
    if isinstance(value, Exception):
        return type(value).__name__, VOLATILE.sub("*", str(value))
    if hasattr(value, "model_dump_json"):
        return VOLATILE.sub("*", value.model_dump_json())
    return [shown(one) for one in value]


OLLAMA: dict[str, Callable[[ollama.Client], Any]] = {
    "generate": lambda client: client.generate("tiny", "a", options=GREEDY),
    "generate stream": lambda client: client.generate("tiny", "a", stream=True, options=GREEDY),
    "chat": lambda client: client.chat("tiny", HELLO, options=GREEDY),
    "chat stream": lambda client: client.chat("tiny", HELLO, stream=True, options=GREEDY),
    "embed": lambda client: client.embed("tiny", "hello"),
    "list": lambda client: client.list(),
    "show": lambda client: client.show("tiny"),
    "ps": lambda client: client.ps(),
    "an error": lambda client: client.chat("no-such-model", HELLO),
}
OPENAI: dict[str, Callable[[openai.OpenAI], Any]] = {
    "chat": lambda client: client.chat.completions.create(messages=HELLO, **FIXED),
    "chat stream": lambda client: client.chat.completions.create(messages=HELLO, stream=True, **FIXED),
    "chat stream with usage": lambda client: client.chat.completions.create(
        messages=HELLO, stream=True, stream_options={"include_usage": True}, **FIXED
    ),
    "completion": lambda client: client.completions.create(prompt="a", **FIXED),
    "completion stream": lambda client: client.completions.create(prompt="a", stream=True, **FIXED),
    "embeddings": lambda client: client.embeddings.create(model="tiny", input="hello"),
    "models": lambda client: client.models.list().data,
    "an error": lambda client: client.chat.completions.create(model="no-such-model", messages=HELLO),
}


@pytest.mark.parametrize("name", OLLAMA)
def test_ollamas_client_does_not_notice(server: OllamaServer, through: Proxied, name: str) -> None:
    def ask(url: str) -> Any:
        with ollama.Client(url) as client:
            try:
                return shown(OLLAMA[name](client))
            except ollama.ResponseError as error:
                return shown(error)

    assert ask(through.url) == ask(server.url)


@pytest.mark.parametrize("name", OPENAI)
def test_openais_client_does_not_notice(server: OllamaServer, through: Proxied, name: str) -> None:
    def ask(url: str) -> Any:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            try:
                return shown(OPENAI[name](client))
            except openai.APIStatusError as error:
                return shown(error)

    assert ask(through.url) == ask(server.url)


def test_anthropics_client_does_not_notice(server: OllamaServer, through: Proxied) -> None:
    def ask(url: str) -> Any:
        with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
            try:
                said = client.messages.create(model="tiny", max_tokens=8, messages=HELLO, extra_body=COLD)
            except anthropic.APIStatusError as error:  # an Ollama before 0.14 has no such path
                return shown(error)
            return [shown(block) for block in said.content], said.usage.output_tokens

    assert ask(through.url) == ask(server.url)


def test_a_day_of_the_clients_requests_is_the_same(server: OllamaServer, through: Proxied) -> None:
    """PROXY_DAY requests by both clients, several at once, of every kind in no order."""
    with contextlib.ExitStack() as stack:
        asks = {
            url: _both(
                stack.enter_context(ollama.Client(url)),
                stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)),
            )
            for url in (server.url, through.url)
        }
        wanted = {name: ask() for name, ask in asks[server.url].items()}
        names = random.Random(7).choices(list(wanted), k=DAY)  # noqa: S311 -- an order, not a secret
        with ThreadPoolExecutor(4) as clients:
            got = clients.map(lambda name: asks[through.url][name](), names)
            differing = [(name, one) for name, one in zip(names, got, strict=True) if one != wanted[name]]
    assert differing == []


def _both(native: ollama.Client, compatible: openai.OpenAI) -> dict[str, Callable[[], Any]]:
    """Everything that the two clients ask above, by name."""

    def safely(ask: Callable[[], Any]) -> Any:
        try:
            return shown(ask())
        except (ollama.ResponseError, openai.APIStatusError) as error:
            return shown(error)

    found = {f"ollama {name}": partial(safely, partial(ask, native)) for name, ask in OLLAMA.items()}
    return found | {f"openai {name}": partial(safely, partial(ask, compatible)) for name, ask in OPENAI.items()}


async def test_ollamas_asynchronous_client_leaves_in_mid_stream_and_asks_again(through: Proxied) -> None:
    before = through.value("ollama_proxy_requests_total", 'outcome="cancelled"')
    client = ollama.AsyncClient(through.url)
    options = {"num_predict": 100_000, "num_ctx": 64}
    async for _ in await client.generate("tiny", "a", stream=True, options=options):
        break
    await client._client.aclose()
    through.until(lambda: through.value("ollama_proxy_requests_total", 'outcome="cancelled"') == before + 1)
    async with ollama.AsyncClient(through.url) as again:
        assert (await again.generate("tiny", "a", options=GREEDY)).done


def test_a_blob_goes_up_and_a_model_is_made_of_it_and_deleted(tmp_path: Path, through: Proxied) -> None:
    weights = tmp_path / "other.gguf"
    write_tiny_model(weights, "other")
    before = through.value("ollama_proxy_content_bytes_total", 'direction="in"')
    with ollama.Client(through.url) as client:
        digest = client.create_blob(weights)
        steps = [one.status for one in client.create("other", files={"other.gguf": digest}, stream=True)]
        assert steps[-1] == "success"
        assert client.generate("other", "a", options=GREEDY).done
        client.copy("other", "another")
        client.delete("other")
        client.delete("another")
    uploaded = through.value("ollama_proxy_content_bytes_total", 'direction="in"') - before
    assert uploaded >= weights.stat().st_size
    assert through.value("ollama_proxy_requests_total", 'endpoint="/api/blobs"', 'outcome="complete"') >= 1


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not (CACHE / f"openwebui-{VERSION}" / ".installed").exists(), reason="Open WebUI is not installed for tests"
)
def test_a_chat_in_open_webui_passes_through_and_is_its_users(tmp_path: Path, server: OllamaServer) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(proxied(tmp_path, server.url, users={"by": "openwebui", "show": "plain"}))
        chats = stack.enter_context(
            openwebui(
                tmp_path,
                OLLAMA_BASE_URL=proxy.url,
                ENABLE_OPENAI_API="false",
                ENABLE_FORWARD_USER_INFO_HEADERS="true",
            )
        )
        ana = chats.sign_up("Ana")
        ben = ana.add("Ben", "admin")
        assert "tiny:latest" in [model["id"] for model in ana.call("GET", "/api/models")["data"]]
        for person, address in ((ana, "ana@example.com"), (ben, "ben@example.com")):
            chat = person.ask("tiny:latest", "hello", tokens=8)
            wait_until(partial(answer, person, chat), "the chat's answer", 120)
            usage = answer(person, chat)["usage"]
            user = f'user="{address}"'
            # Titles and tags are made by the same model: what the page shows is at most what the proxy counts.
            for kind, said in (("input", usage["prompt_eval_count"]), ("output", usage["eval_count"])):
                wait_until(
                    partial(at_least, proxy, said, "ollama_proxy_user_tokens_total", user, f'type="{kind}"'), kind
                )
        assert proxy.value("ollama_proxy_requests_total", 'endpoint="/api/chat"', 'outcome="failed"') == 0
        assert "example.com" not in proxy.log()


def at_least(proxy: Proxied, number: float, *sample: str) -> bool:
    return proxy.value(*sample) >= number


def answer(person: Any, chat: str) -> Any:
    """The message the model wrote, once it is whole."""
    messages = person.call("GET", f"/api/v1/chats/{chat}")["chat"]["history"]["messages"]
    found = [one for one in messages.values() if one["role"] == "assistant" and one.get("done") and one.get("usage")]
    return found[0] if found else None
