from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporter.collectors.base import Answer
from exporter.errors import CollectError, Reason
from tests.exporter.ollama.fakes import Clock, FakeHttp, collector, entry, look


async def test_a_thousand_models_cost_a_few_calls_a_scrape_and_one_each() -> None:
    http = FakeHttp(
        {
            "/api/tags": {"models": [entry(f"m{number}") for number in range(1000)]},
            "/api/show": {"capabilities": ["completion", "tools"]},
        }
    )
    ollama = collector(http)
    before = 0
    for _ in range(125):
        await look(ollama, "capabilities")
        assert 0 < http.count("/api/show") - before <= 8
        before = http.count("/api/show")
    seen = await look(ollama)
    assert http.count("/api/show") == 1000
    assert len(seen["ollama_model_capability"]) == 2000
    assert seen["ollama_models_not_described"] == {"": 0}


async def test_few_calls_run_at_once() -> None:
    running = most = 0

    async def show(_: Any) -> dict[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return {"capabilities": []}

    http = FakeHttp({"/api/tags": {"models": [entry(f"m{number}") for number in range(20)]}, "/api/show": show})
    await look(collector(http), "capabilities")
    assert most == 4


async def test_capabilities_in_the_list_need_no_call() -> None:
    http = FakeHttp({"/api/tags": {"models": [entry("a", capabilities=["completion", 7, "completion", "vision"])]}})
    seen = await look(collector(http))
    assert http.count("/api/show") == 0
    assert set(seen["ollama_model_capability"]) == {
        '{capability="completion",model="a"}',
        '{capability="vision",model="a"}',
    }


async def test_models_of_the_same_weights_are_asked_about_once() -> None:
    models = [entry("a"), entry("b") | {"digest": "sha-a"}]
    http = FakeHttp({"/api/tags": {"models": models}, "/api/show": {"capabilities": ["embedding"]}})
    ollama = collector(http)
    await look(ollama)
    seen = await look(ollama)
    assert http.count("/api/show") == 1
    assert len(seen["ollama_model_capability"]) == 2


async def test_new_weights_are_asked_about_anew() -> None:
    http = FakeHttp({"/api/tags": {"models": [entry("a")]}, "/api/show": {"capabilities": []}})
    ollama = collector(http)
    await look(ollama)
    http.answers["/api/tags"] = {"models": [entry("a") | {"digest": "other"}]}
    await look(ollama)
    assert http.count("/api/show") == 2


async def test_a_failing_model_is_reported_and_left_alone_for_a_while() -> None:
    clock = Clock()
    http = FakeHttp({"/api/tags": {"models": [entry("a")]}, "/api/show": Answer(500, "application/json", b"{}")})
    ollama = collector(http, clock)
    with pytest.raises(CollectError) as error:
        await look(ollama, "capabilities")
    assert error.value.reason == Reason.SERVER_ERROR
    seen = await look(ollama, "capabilities")
    assert seen["ollama_models_not_described"] == {"": 1}
    assert http.count("/api/show") == 1
    clock.now += 601
    http.answers["/api/show"] = {"capabilities": []}
    await look(ollama, "capabilities")
    assert http.count("/api/show") == 2


async def test_a_model_deleted_meanwhile_is_no_error() -> None:
    http = FakeHttp({"/api/tags": {"models": [entry("a")]}})  # /api/show answers 404
    await look(collector(http), "capabilities")


async def test_a_scrape_that_ran_out_of_time_keeps_what_it_learned() -> None:
    async def show(body: Any) -> dict[str, Any]:
        if body["model"] == "slow":
            await asyncio.Event().wait()
        return {"capabilities": ["completion"]}

    models = [entry("slow"), *(entry(f"m{number}") for number in range(7))]
    http = FakeHttp({"/api/tags": {"models": models}, "/api/show": show})
    ollama = collector(http)
    for _ in range(3):
        try:
            async with asyncio.timeout(0.05):
                await look(ollama, "capabilities")
        except TimeoutError:
            continue
    seen = await look(ollama)
    assert len(seen["ollama_model_capability"]) == 7
    assert seen["ollama_models_not_described"] == {"": 1}


async def test_loaded_models_come_first() -> None:
    models = [entry(f"m{number}") for number in range(20)]
    http = FakeHttp({"/api/tags": {"models": models}, "/api/ps": {"models": [models[19]]}, "/api/show": {}})
    await look(collector(http), "capabilities")
    assert next(body for path, body in http.calls if path == "/api/show") == {"model": "m19"}


async def test_failed_models_leave_no_trace_when_they_go() -> None:
    http = FakeHttp({"/api/tags": {"models": [entry("a")]}, "/api/show": Answer(500, "application/json", b"{}")})
    ollama = collector(http)
    with pytest.raises(CollectError):
        await look(ollama, "capabilities")
    http.answers["/api/tags"] = {"models": []}
    await look(ollama, "capabilities")
    assert ollama._shown._failed == {}
