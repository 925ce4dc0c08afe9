"""Who is told apart, by what, and what it is said to cost."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from pydantic import ValidationError

from exporter.proxy.accounts import Prices, Who
from exporter.proxy.heads import Fields
from provisioning.config.ollama_proxy import ModelPrice, OllamaProxy, ProxyUsers
from tests.exporter.proxy.standing import head_of, standing

REST = b"Content-Length: 2\r\n\r\n{}"
ANSWER = b'{"model":"tiny","response":"","done":true,"total_duration":9,"prompt_eval_count":2000,"eval_count":500}'


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key"
    file.write_text("a secret of ours\n")
    return file


def fields(**named: str) -> Fields:
    return Fields(tuple((name.replace("_", "-").encode(), value.encode()) for name, value in named.items()))


def test_a_key_is_one_hash_in_either_header_and_nothing_of_it_shows(key_file):
    who = Who(ProxyUsers(by="api_key", hash_key_file=key_file))
    seen = who.of(fields(authorization="Bearer sk-verysecret"))
    assert seen == who.of(fields(authorization="bearer  sk-verysecret")) == who.of(fields(x_api_key="sk-verysecret"))
    assert seen != who.of(fields(x_api_key="sk-other"))
    assert len(seen) == 16
    assert "verysecret" not in seen
    again = Who(ProxyUsers(by="api_key", hash_key_file=key_file))
    assert again.of(fields(x_api_key="sk-verysecret")) == seen  # after a restart, too
    key_file.write_text("another secret")
    assert Who(ProxyUsers(by="api_key", hash_key_file=key_file)).of(fields(x_api_key="sk-verysecret")) != seen


@pytest.mark.parametrize(
    "named", [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer "}, {"x_api_key": ""}]
)
def test_who_brings_no_key_is_unknown(key_file, named):
    who = Who(ProxyUsers(by="api_key", hash_key_file=key_file))
    assert who.label(who.of(fields(**named)), answered=True) == "_unknown"


def test_a_header_may_be_shown_as_it_is_without_what_could_break_a_page():
    who = Who(ProxyUsers(by="header", header="X-Team", show="plain"))
    assert who.of(fields(x_team="blue")) == "blue"
    assert who.of(Fields(((b"x-team", b"\xff\xe2\x80\xaered"),))).startswith("\ufffdred~")
    assert len(who.of(fields(x_team="x" * 5000))) <= 200


def test_of_open_webuis_user_the_mail_address_is_shown_and_the_number_hashed(key_file):
    ana = fields(x_openwebui_user_name="Ana", x_openwebui_user_id="17", x_openwebui_user_email="ana@example.org")
    renamed = fields(x_openwebui_user_name="Anna", x_openwebui_user_id="17", x_openwebui_user_email="a@example.org")
    assert Who(ProxyUsers(by="openwebui", show="plain")).of(ana) == "ana@example.org"
    hashed = Who(ProxyUsers(by="openwebui", hash_key_file=key_file))
    assert hashed.of(ana) == hashed.of(renamed)


def test_only_so_many_have_a_name_and_only_those_who_were_answered():
    who = Who(ProxyUsers(by="header", header="X-Team", show="plain", most=2))
    assert who.label("guess", answered=False) == "_other"
    assert [who.label(name, answered=True) for name in ("a", "b", "c", "a")] == ["a", "b", "_other", "a"]
    assert who.label("a", answered=False) == "a"


@pytest.mark.parametrize(
    "wrong",
    [
        {"by": "api_key"},
        {"by": "api_key", "show": "plain"},
        {"by": "header", "show": "plain"},
        {"by": "openwebui", "show": "plain", "header": "X-Team"},
    ],
)
def test_what_does_not_go_together(wrong):
    with pytest.raises(ValidationError):
        ProxyUsers(**wrong)


def test_a_price_is_found_by_the_names_a_model_has():
    one, other = ModelPrice(input=1.0, output=10.0), ModelPrice(input=0.0, output=1.0)
    prices = Prices({"a": one, "b:latest": one, "*": other}, "EUR")
    assert prices.cost("a", 1_000_000, 100_000) == 2.0
    assert prices.cost("a:latest", 1_000_000, 0) == prices.cost("b", 1_000_000, 0) == 1.0
    assert prices.cost("a:7b", 5, 1_000_000) == prices.cost(None, 5, 1_000_000) == 1.0
    assert Prices({"a": one}).cost("b", 5, 5) is None


def test_a_price_below_nothing_is_refused():
    with pytest.raises(ValidationError):
        OllamaProxy(listen="127.0.0.1:1", prices={"a": {"input": -1.0, "output": 1.0}})


async def test_requests_tokens_and_cost_are_counted_by_user_and_no_secret_is_told(key_file):
    async def upstream(reader, writer):
        while True:
            head = await head_of(reader)
            await reader.readexactly(2)
            status = b"404 Not Found" if b"sk-wrong" in head else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(ANSWER), ANSWER))

    users = {"by": "api_key", "hash_key_file": key_file}
    prices = {"tiny": {"input": 10.0, "output": 20.0}}
    async with standing(upstream, users=users, prices=prices, currency="EUR") as here:
        reader, writer = await here.connect()
        for key in (b"sk-ana", b"sk-ana", b"sk-ben", b"sk-wrong"):
            writer.write(
                b"POST /api/generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n{}"
                % key
            )
            await reader.readuntil(ANSWER)
        writer.write(b"GET /api/tags HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        await reader.readuntil(ANSWER)
        ana = Who(ProxyUsers(**users)).of(fields(x_api_key="sk-ana"))
        assert here.total("ollama_proxy_user_requests_total", user=ana, outcome="complete") == 2
        assert here.total("ollama_proxy_user_requests_total", user="_other", outcome="failed") == 1
        assert here.total("ollama_proxy_user_requests_total") == 4  # asking for the list is nobody's use of a model
        assert here.total("ollama_proxy_user_tokens_total", user=ana, type="input") == 4000
        assert here.total("ollama_proxy_user_tokens_total", type="output") == 1500
        assert here.total("ollama_proxy_user_cost_total", user=ana, currency="EUR") == pytest.approx(0.06)
        assert here.total("ollama_proxy_cost_total", model="tiny", currency="EUR") == pytest.approx(0.09)
        registry = CollectorRegistry()
        registry.register(here.metrics)
        assert b"sk-" not in generate_latest(registry)
