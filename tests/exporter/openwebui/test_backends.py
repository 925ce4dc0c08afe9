"""Backends as Open WebUI sees them."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from exporter.collectors.base import Answer
from exporter.collectors.openwebui import OpenWebUICollector
from exporter.collectors.openwebui_access import GATE
from exporter.collectors.openwebui_backends import MOST_BACKENDS, Kind, backends
from exporter.errors import CollectError, Reason
from tests.exporter.fakes import values
from tests.exporter.openwebui.recorded import FakeHttp, Time, answer, collector

UP = 'openwebui_backend_up{backend="gpu.test:11434",kind="ollama"}'
HUNG = CollectError(Reason.TIMEOUT, "no answer within 12 s")
CALL = "/ollama/api/version/0"


def ollama(*urls: object, configs: object = None, enable: object = True) -> dict[str, object]:
    return {"ENABLE_OLLAMA_API": enable, "OLLAMA_BASE_URLS": list(urls), "OLLAMA_API_CONFIGS": configs}


def openai(*urls: object, configs: object = None, enable: object = True) -> dict[str, object]:
    return {"ENABLE_OPENAI_API": enable, "OPENAI_API_BASE_URLS": list(urls), "OPENAI_API_CONFIGS": configs}


def server(**more: Answer | CollectError) -> FakeHttp:
    answers: dict[str, Answer | CollectError] = {
        GATE: answer({}),
        "/ollama/config": answer(ollama("http://gpu.test:11434")),
        "/openai/config": answer(openai(enable=False)),
        CALL: answer({"version": "0.6.5"}),
    }
    return FakeHttp(answers | more)


async def look(whole: OpenWebUICollector) -> dict[str, float]:
    return values(await whole.parts()["backends"].ask())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://10.0.0.7:11434", "10.0.0.7:11434"),
        ("http://user:sk-secret@gpu.test", "gpu.test:80"),
        ("https://api.openai.com/v1?key=secret", "api.openai.com:443"),
        ("http://[fd00::1]:11434/secret", "[fd00::1]:11434"),
        ("http://[broken", "invalid-address"),
        ("http://host:99999999", "invalid-address"),
        ("", "invalid-address"),
        (None, "invalid-address"),
    ],
)
def test_a_backend_is_called_by_host_and_port(url: object, name: str) -> None:
    assert [backend.name for backend in backends("ollama", ollama(url))] == [name]


def test_two_connections_to_one_address_are_told_apart() -> None:
    found = backends("openai", openai("http://gw.test/a", "http://gw.test/b", "http://x.test", "http://gw.test/a"))
    assert [backend.name for backend in found] == ["gw.test:80", "gw.test:80#2", "x.test:80", "gw.test:80#3"]
    assert [backend.path for backend in found] == [f"/openai/models/{index}" for index in range(4)]


@pytest.mark.parametrize(
    ("configs", "asked"),
    [
        ({"0": {"enable": False}}, [1]),
        ({"http://a.test": {"enable": False}}, [1]),
        ({"1": {"azure": True}}, [0]),
        ({"1": {"provider": "azure"}}, [0]),
        ({"0": "odd", "1": None}, [0, 1]),
        ([], [0, 1]),
    ],
)
def test_connections_that_open_webui_does_not_call_are_left_out(configs: object, asked: list[int]) -> None:
    found = backends("openai", openai("http://a.test", "http://b.test", configs=configs))
    assert [backend.index for backend in found] == asked


def test_a_disabled_kind_has_no_backends() -> None:
    assert backends("ollama", ollama("http://a.test", enable=False)) == []


@pytest.mark.parametrize("body", [None, [], {}, {"OLLAMA_BASE_URLS": "http://a.test"}])
def test_a_wrong_shape(body: object) -> None:
    with pytest.raises(CollectError) as caught:
        backends("ollama", body)
    assert caught.value.reason is Reason.SHAPE


@pytest.mark.parametrize(
    ("said", "up"),
    [
        (answer({"version": "0.6.5"}), 1),
        (answer({"detail": "Ollama: Cannot connect to host"}, 500), 0),
        (answer({"detail": "unauthorized"}, 401), 0),  # the backend's refusal, passed on
        (answer({"version": False}), 0),
        (answer(None), 0),
        (Answer(200, "text/html", b"<html>"), 0),
        (Answer(502, "text/html", b"bad gateway"), 0),
        (HUNG, 0),
    ],
)
async def test_what_an_answer_means(said: Answer | CollectError, up: float) -> None:
    found = await look(collector(server(**{CALL: said})))
    assert found[UP] == up
    assert ('openwebui_backend_response_seconds{backend="gpu.test:11434",kind="ollama"}' in found) == bool(up)


@pytest.mark.parametrize("said", [answer({"data": []}), answer([])])
async def test_an_openai_backend_that_lists_nothing_is_still_reached(said: Answer) -> None:
    http = server(**{"/openai/config": answer(openai("http://gw.test")), "/openai/models/0": said})
    assert (await look(collector(http)))['openwebui_backend_up{backend="gw.test:80",kind="openai"}'] == 1


async def test_a_key_that_may_not_ask_leaves_the_backend_unknown() -> None:
    denied = answer({"detail": "You do not have permission to access this resource. Please contact"}, 403)
    with pytest.raises(CollectError, match="API_KEYS_ALLOWED_ENDPOINTS") as caught:
        await look(collector(server(**{CALL: denied})))
    assert caught.value.reason is Reason.FORBIDDEN


async def test_open_webui_gone_is_not_the_backends_fault() -> None:
    with pytest.raises(CollectError) as caught:
        await look(collector(server(**{CALL: CollectError(Reason.REFUSED, "connection refused")})))
    assert caught.value.reason is Reason.REFUSED


async def asked_during(whole: OpenWebUICollector, http: FakeHttp, clock: Time, seconds: float) -> int:
    """How often the backend was asked while looks came every 15 s."""
    before = http.calls.count((CALL, True))
    end = clock.now + seconds
    while clock.now < end:
        await look(whole)
        clock.now += 15
    return http.calls.count((CALL, True)) - before


async def test_a_hung_ollama_is_asked_ever_less_often() -> None:
    clock, http = Time(), server(**{CALL: HUNG})
    whole = collector(http, monotonic=clock)
    assert await asked_during(whole, http, clock, 3600) < 12, "each of these costs Open WebUI a connection"
    assert (await look(whole))[UP] == 0
    assert await asked_during(whole, http, clock, 3600) in (3, 4, 5)


async def test_a_hung_ollama_is_asked_again_when_open_webui_lists_its_models() -> None:
    clock, http = Time(), server(**{CALL: HUNG})
    whole = collector(http, monotonic=clock)
    await asked_during(whole, http, clock, 3600)
    http.answers[CALL] = answer({"version": "0.6.5"})
    http.answers["/api/models"] = answer({"data": [{"owned_by": "ollama", "ollama": {"urls": [0]}}]})
    assert (await look(whole))[UP] == 0
    await whole.parts()["models"].ask()
    assert (await look(whole))[UP] == 1
    assert await asked_during(whole, http, clock, 150) == 10, "a backend that answers is asked at every look again"


async def test_openai_backends_are_asked_at_most_every_refresh() -> None:
    clock = Time()
    http = server(**{"/openai/config": answer(openai("http://gw.test")), "/openai/models/0": answer({"data": []})})
    whole = collector(http, monotonic=clock, refresh="2m")
    for _ in range(16):
        await look(whole)
        clock.now += 15
    assert http.calls.count(("/openai/models/0", True)) == 2


async def test_a_backend_taken_out_of_the_configuration_is_forgotten() -> None:
    http = server()
    whole = collector(http)
    await look(whole)
    changed: Any = ollama("http://new.test:11434")
    http.answers["/ollama/config"] = answer(changed)
    assert [key for key in await look(whole) if "_up" in key] == [UP.replace("gpu", "new")]


@pytest.mark.parametrize(("kind", "tell"), [("ollama", ollama), ("openai", openai)])
def test_more_backends_than_anybody_has_are_not_asked_about(kind: Kind, tell: Callable[..., object]) -> None:
    """A list of a million took gigabytes: each would be asked by itself, all at once."""
    assert len(backends(kind, tell(*["http://a"] * MOST_BACKENDS))) == MOST_BACKENDS
    with pytest.raises(CollectError, match="at most 200") as refused:
        backends(kind, tell(*["http://a"] * (MOST_BACKENDS + 1)))
    assert refused.value.reason is Reason.TOO_LARGE


def test_an_address_of_megabytes_is_invalid_and_not_remembered() -> None:
    """urlsplit keeps the last hundred it was given."""
    backends("ollama", ollama("http://a"))  # memory that stays anyway
    tracemalloc.start()
    [backend] = backends("ollama", ollama("http://" + "a" * 3_000_000))
    assert backend.name == "invalid-address"
    assert tracemalloc.get_traced_memory()[0] < 1_000_000
    tracemalloc.stop()


async def test_a_backend_with_a_very_long_list_is_reached_without_decoding_it() -> None:
    listed = Answer(200, "application/json", b"[" + b"{}," * 1_000_000 + b"{}]")
    fake = server(**{"/openai/config": answer(openai("http://api.test")), "/openai/models/0": listed})
    began = time.process_time()
    found = await look(collector(fake))
    assert time.process_time() - began < 0.2
    assert found['openwebui_backend_up{backend="api.test:80",kind="openai"}'] == 1
