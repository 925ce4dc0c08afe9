from __future__ import annotations

from typing import Any

import pytest

from exporter.errors import CollectError, Reason
from tests.exporter.ollama.fakes import Clock, FakeHttp, collector, entry, look


async def see(ollama: Any, http: FakeHttp, installed: list[Any], loaded: list[Any]) -> tuple[dict, dict]:
    http.answers["/api/tags"], http.answers["/api/ps"] = {"models": installed}, {"models": loaded}
    seen = await look(ollama, "installed", "loaded")
    return seen["ollama_model_loads"], seen["ollama_model_unloads"]


A, B = '{model="a"}', '{model="b"}'


async def test_what_was_there_before_is_not_replayed() -> None:
    http = FakeHttp({})
    ollama = collector(http)
    assert await see(ollama, http, [entry("a"), entry("b")], [entry("a")]) == ({A: 0, B: 0}, {A: 0, B: 0})


async def test_loads_and_unloads_are_counted() -> None:
    http = FakeHttp({})
    ollama = collector(http)
    both = [entry("a"), entry("b")]
    await see(ollama, http, both, [])
    assert await see(ollama, http, both, [entry("a")]) == ({A: 1, B: 0}, {A: 0, B: 0})
    assert await see(ollama, http, both, [entry("a")]) == ({A: 1, B: 0}, {A: 0, B: 0})
    assert await see(ollama, http, both, [entry("b")]) == ({A: 1, B: 1}, {A: 1, B: 0})
    assert await see(ollama, http, both, [entry("a")]) == ({A: 2, B: 1}, {A: 1, B: 1})


@pytest.mark.parametrize(("field", "before", "after"), [("digest", "x", "y"), ("context_length", 2048, 8192)])
async def test_a_proven_reload_is_an_unload_and_a_load(field: str, before: object, after: object) -> None:
    http = FakeHttp({})
    ollama = collector(http)
    await see(ollama, http, [], [entry("a") | {field: before}])
    assert await see(ollama, http, [], [entry("a") | {field: after}]) == ({A: 1}, {A: 1})


@pytest.mark.parametrize("field", ["digest", "context_length", "expires_at"])
async def test_a_field_that_appears_proves_nothing(field: str) -> None:
    http = FakeHttp({})
    ollama = collector(http)
    await see(ollama, http, [], [entry("a") | {field: None}])
    assert await see(ollama, http, [], [entry("a") | {field: "2026-11-23T00:00:00Z"}]) == ({A: 0}, {A: 0})


async def test_looks_that_failed_count_nothing_and_lose_nothing() -> None:
    http = FakeHttp({})
    ollama = collector(http)
    await see(ollama, http, [entry("a")], [entry("a")])
    http.answers["/api/ps"] = CollectError(Reason.REFUSED, "no")
    with pytest.raises(CollectError):
        await look(ollama, "loaded")
    assert {family.name: [value for _, value in family.samples] for family in ollama.standing()} == {
        "ollama_model_loads": [0],
        "ollama_model_unloads": [0],
    }
    assert await see(ollama, http, [entry("a")], []) == ({A: 0}, {A: 1})


async def test_a_thousand_models_come_and_go_without_a_trace() -> None:
    http = FakeHttp({"/api/show": {"capabilities": ["completion"]}})
    clock = Clock()
    ollama = collector(http, clock, generation_probe={"enabled": True})
    baseline = await see(ollama, http, [entry("a")], [])
    for round_ in range(20):
        crowd = [entry(f"m{round_}-{number}") for number in range(50)]
        await see(ollama, http, [entry("a"), *crowd], crowd)
        await look(ollama, "capabilities")
        clock.now += 5
    assert ollama._counts._loads.keys() == {"a", *(f"m19-{number}" for number in range(50))}
    assert await see(ollama, http, [entry("a")], []) == baseline
    assert ollama._counts._labels.keys() <= {"a"}
    assert ollama._shown._known.keys() | ollama._shown._failed.keys() <= {"sha-a"}
    assert ollama._probes is not None
    await ollama._probes.idle()
    assert ollama._probes._states == {}
