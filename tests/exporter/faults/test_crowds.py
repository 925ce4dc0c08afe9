"""Things that come by the thousand and go again, and more of them than the cap allows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from exporter.collectors.ollama_answers import MOST_TOLD
from exporter.errors import Reason
from provisioning.config.targets import System
from tests.exporter.faults import servers, systems
from tests.exporter.faults.watching import Watched, of, series, values, watching

CROWD = 1_000
DEFAULT_CAP = 50_000
OWN = 60  # series a target has whatever it gives: up, durations, errors by reason


def ollama_crowd(system: systems.Ollama, count: int) -> None:
    """`count` models; all of them loaded, where that is at all thinkable."""
    for path in ("/api/tags", "/api/ps")[: 2 if count <= CROWD else 1]:
        [like, *_] = systems.Ollama().bodies[path]["models"]
        system.bodies[path]["models"] = [
            like | {"name": f"m{n}:latest", "model": f"m{n}:latest", "digest": f"{n:064}", "capabilities": ["tools"]}
            for n in range(count)
        ]


def openwebui_crowd(system: systems.OpenWebUI, count: int) -> None:
    """Answers of `count` models."""
    for path, fields in (
        ("/api/v1/analytics/models", ("count", "unique_users", "unique_chats")),
        ("/api/v1/analytics/tokens", ("input_tokens", "output_tokens")),
    ):
        system.bodies[path]["models"] = [{"model_id": f"m{n}"} | dict.fromkeys(fields, 5) for n in range(count)]


def dask_crowd(system: systems.Dask, count: int) -> None:
    """`count` workers."""
    like = next(iter(systems.Dask().replies["identity"]["workers"].values()))
    workers = {f"tcp://10.1.{n >> 8}.{n & 255}:4000": like | {"name": f"w{n}", "id": f"w{n}"} for n in range(count)}
    system.replies["identity"] = system.replies["identity"] | {"workers": workers}
    system.replies["processing"] = dict.fromkeys(workers, ("a", "b"))


CROWDS: dict[str, Any] = {"ollama": ollama_crowd, "openwebui": openwebui_crowd, "dask": dask_crowd}


@asynccontextmanager
async def crowded(name: System, folder: Path, **more: Any) -> AsyncIterator[tuple[Watched, Any]]:
    """A system under watch, and its stand-in."""
    system: Any = {"ollama": systems.Ollama, "openwebui": systems.OpenWebUI, "dask": systems.Dask}[name]()
    if name == "openwebui":
        more["api_key_file"] = folder / "key"
        more["api_key_file"].write_text("sk-1")
        more["api_key_file"].chmod(0o600)
    serve = servers.scheduler if name == "dask" else servers.web
    async with serve(system.answer) as hits, watching(name, of(name, hits.port, timeout="60s", **more)) as watched:
        yield watched, system


async def settled(watched: Watched) -> str:
    """The text of the second look: parts that are kept, and questions asked once a model, are a look behind."""
    await watched.look()
    return (await watched.look())[1]


@pytest.mark.parametrize("name", ["dask", "ollama", "openwebui"])
async def test_a_thousand_that_came_and_went_leave_nothing_behind(name: System, tmp_path: Path) -> None:
    async with crowded(name, tmp_path) as (watched, system):
        baseline = series(await settled(watched))
        before = deepcopy(system.__dict__)
        CROWDS[name](system, CROWD)
        assert len(series(await settled(watched)) - baseline) >= 2 * CROWD
        system.__dict__.update(before)
        _, next_one = await watched.look()
        text = (await watched.look())[1]
        assert baseline <= series(text)
        left = series(text) - baseline
        if name == "openwebui":  # counters keep the names that they counted under, 500 of them and a rest
            counters = {"openwebui_model_messages_seen_total", "openwebui_model_tokens_seen_total"}
            assert {line.partition("{")[0] for line in left} == counters
            assert len(values(text, "openwebui_model_messages_seen_total")) == 501
        else:
            assert left == series(next_one) - baseline == set()


@pytest.mark.parametrize("name", ["dask", "ollama", "openwebui"])
async def test_the_cap_is_kept_whatever_a_system_gives(name: System, tmp_path: Path) -> None:
    async with crowded(name, tmp_path, series_limit=500) as (watched, system):
        CROWDS[name](system, CROWD)
        text = await watched.checked_look()
        prefix = watched.watch.collector.prefix
        assert len(series(text)) <= 500 + OWN
        assert values(text, f"{prefix}_series_dropped")[""] >= CROWD
        assert values(text, f"{prefix}_up")[""] == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "count", "whole"),
    [
        ("ollama", 30_000, "ollama_models_installed"),
        ("openwebui", 60_000, "openwebui_model_messages"),
        ("dask", 20_000, "dask_cluster_workers"),
    ],
)
async def test_far_more_than_the_default_cap(name: System, count: int, whole: str, tmp_path: Path) -> None:
    async with crowded(name, tmp_path) as (watched, system):
        CROWDS[name](system, count)
        started = time.monotonic()
        collection, text = await watched.look()
        assert time.monotonic() - started < 30
        assert collection.up
        prefix = watched.watch.collector.prefix
        assert values(text, f"{prefix}_collector_errors_total") == dict.fromkeys(
            (f'{{reason="{reason}"}}' for reason in Reason), 0.0
        )
        assert len(series(text)) <= DEFAULT_CAP + OWN
        # What is left out is left out whole and said so: the sums that remain are right.
        if name == "openwebui":
            assert values(text, whole)['{model="(other)"}'] >= 5 * (count - 500)
            assert sum(values(text, whole).values()) == 5 * count
        else:
            assert values(text, f"{prefix}_series_dropped")[""] > count
            assert sum(values(text, whole).values()) == count


async def test_sixty_thousand_models_are_more_than_is_read_and_the_server_stays_up(tmp_path: Path) -> None:
    async with crowded("ollama", tmp_path) as (watched, system):
        ollama_crowd(system, 60_000)  # 23 MB, as Ollama writes them
        collection, text = await watched.look()
        assert collection.up
        assert collection.error is not None
        assert "answered more than 12 MiB, the most that is read" in collection.error
        assert values(text, "ollama_collector_errors_total")['{reason="too_large"}'] == 1
        assert values(text, "ollama_models_loaded")[""] == 1
        assert "ollama_models_installed" not in text


async def test_a_crowd_of_loaded_models_is_counted_and_makes_no_loads(tmp_path: Path) -> None:
    async with crowded("ollama", tmp_path) as (watched, system):
        [like, *_] = systems.Ollama().bodies["/api/ps"]["models"]
        await watched.look()
        system.bodies["/api/ps"]["models"] = [like | {"name": f"m{number}"} for number in range(MOST_TOLD + 1)]
        text = await watched.checked_look()
        assert values(text, "ollama_models_loaded")[""] == MOST_TOLD + 1
        assert values(text, "ollama_series_dropped")[""] > MOST_TOLD
        assert not values(text, "ollama_loaded_model_size_bytes")
        system.bodies["/api/ps"]["models"] = [like]
        text = await watched.checked_look()
        assert len(values(text, "ollama_loaded_model_size_bytes")) == 1
        assert set(values(text, "ollama_model_loads_total").values()) == {0.0}
        assert set(values(text, "ollama_model_unloads_total").values()) == {0.0}
        assert values(text, "ollama_series_dropped")[""] == 0
