"""The official clients before recorded answers: what they make of them through the proxy, and what is counted.

tests/real/test_proxy_clients.py has them before a real Ollama.
"""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import ollama
import openai
import pytest

from tests.exporter.proxy.process import Proxied, proxied
from tests.exporter.proxy.recorded import recorded

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def direct() -> Iterator[str]:
    with recorded() as url:
        yield url


@pytest.fixture
def through(tmp_path, direct, monkeypatch) -> Iterator[Proxied]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with proxied(tmp_path, direct) as proxy:
        yield proxy


def claude(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def gpt(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def messages(url: str) -> tuple[str, int, int]:
    with claude(url) as client, client.messages.stream(model="tiny", max_tokens=8, messages=HELLO) as stream:
        said = "".join(stream.text_stream)
        usage = stream.get_final_message().usage
    return said, usage.input_tokens, usage.output_tokens


def whole_message(url: str) -> tuple[str, int, int]:
    with claude(url) as client:
        said = client.messages.create(model="tiny", max_tokens=8, messages=HELLO)
    return said.content[0].text, said.usage.input_tokens, said.usage.output_tokens


def responses(url: str) -> tuple[str, int, int]:
    said, usage = "", None
    with gpt(url) as client:
        for event in client.responses.create(model="tiny", input="hello", stream=True):
            if event.type == "response.output_text.delta":
                said += event.delta
            if event.type == "response.completed":
                usage = event.response.usage
    assert usage is not None
    return said, usage.input_tokens, usage.output_tokens


def whole_response(url: str) -> tuple[str, int, int]:
    with gpt(url) as client:
        said = client.responses.create(model="tiny", input="hello")
    return said.output_text, said.usage.input_tokens, said.usage.output_tokens


def completions(url: str) -> tuple[str, int, int]:
    said, usage = "", None
    with gpt(url) as client:
        for piece in client.chat.completions.create(model="tiny", messages=HELLO, stream=True):
            said += piece.choices[0].delta.content or "" if piece.choices else ""
            usage = piece.usage or usage
    assert usage is not None
    return said, usage.prompt_tokens, usage.completion_tokens


def chat(url: str) -> tuple[str, int, int]:
    with ollama.Client(url) as client:
        pieces = list(client.chat("tiny", HELLO, stream=True))
    return "".join(one.message.content for one in pieces), pieces[-1].prompt_eval_count, pieces[-1].eval_count


CALLS = {  # how to ask; the endpoint, what it says, and how many pieces came after the first
    messages: ("/v1/messages", ("AҬ", 7, 8), 1),
    whole_message: ("/v1/messages", ("WPҬ", 7, 3), 0),
    responses: ("/v1/responses", ("WPҬ", 7, 3), 2),
    whole_response: ("/v1/responses", ("WPҬ", 7, 3), 0),
    completions: ("/v1/chat/completions", ("WP", 7, 8), 1),
    chat: ("/api/chat", ("yy", 7, 8), 1),
}


@pytest.mark.parametrize("ask", CALLS, ids=lambda ask: ask.__name__)
def test_a_client_reads_the_same_and_its_tokens_are_counted(direct, through, ask):
    endpoint, expected, later = CALLS[ask]
    assert ask(through.url) == ask(direct) == expected
    labels = ('model="tiny"', f'endpoint="{endpoint}"')
    through.until(lambda: through.value("ollama_proxy_requests_total", *labels, 'outcome="complete"') == 1)
    for kind, tokens in (("input", expected[1]), ("output", expected[2])):
        assert through.value("ollama_proxy_tokens_total", *labels, f'type="{kind}"', 'source="reported"') == tokens
    assert through.value("ollama_proxy_inter_token_latency_seconds_count", *labels) <= later
    streamed = later > 0
    assert through.value("ollama_proxy_time_to_first_token_seconds_count", *labels) == streamed


def test_each_client_says_in_its_own_errors_why_it_was_refused(tmp_path, direct, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tokens = tmp_path / "tokens"
    tokens.write_text("sk-1\nsk-2\nsk-3\n")
    limits = {"requests_per_minute": 1}
    with proxied(tmp_path, direct, tokens_file=str(tokens), limits=limits) as proxy:
        common = {"base_url": f"{proxy.url}/v1", "max_retries": 0}
        with openai.OpenAI(api_key="wrong", **common) as client, pytest.raises(openai.AuthenticationError):
            client.responses.create(model="tiny", input="hello")
        with openai.OpenAI(api_key="sk-1", **common) as client:
            client.responses.create(model="tiny", input="hello")
            with pytest.raises(openai.RateLimitError, match="more requests a minute than one user may make"):
                client.responses.create(model="tiny", input="hello")
        ask = {"model": "tiny", "max_tokens": 8, "messages": HELLO}
        with anthropic.Anthropic(base_url=proxy.url, api_key="sk-2", max_retries=0) as client:
            client.messages.create(**ask)
            with pytest.raises(anthropic.RateLimitError, match="more requests a minute") as limited:
                client.messages.create(**ask)
            assert 0 < int(limited.value.response.headers["retry-after"]) <= 60
        with ollama.Client(proxy.url, headers={"Authorization": "Bearer sk-3"}) as client:
            list(client.chat("tiny", HELLO, stream=True))
            with pytest.raises(ollama.ResponseError, match="more requests a minute") as limited:
                list(client.chat("tiny", HELLO, stream=True))
            assert limited.value.status_code == 429
        assert "sk-" not in proxy.log()
