"""An exporter that starts anew counts from now on: what its targets remember is never counted twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioning.config.targets import System
from tests.exporter.faults.test_crowds import crowded
from tests.exporter.faults.watching import values, watching


def dask_event(system: Any) -> None:
    """A worker comes."""
    events = system.replies["events-all"]
    message = {"action": "add-worker", "worker": "tcp://10.0.0.99:1"}
    system.replies["events-all"] = (*events, (events[-1][0] + 1, message))


def ollama_event(system: Any) -> None:
    """A model is loaded."""
    models = system.bodies["/api/ps"]["models"]
    name = f"new-{len(models)}:latest"
    system.bodies["/api/ps"]["models"] = [*models, models[0] | {"name": name, "model": name}]


def openwebui_event(system: Any) -> None:
    """A model answers once more."""
    system.bodies["/api/v1/analytics/models"]["models"][0]["count"] += 1


EVENTS: dict[System, tuple[Any, str]] = {
    "dask": (dask_event, "dask_cluster_worker_additions_total"),
    "ollama": (ollama_event, "ollama_model_loads_total"),
    "openwebui": (openwebui_event, "openwebui_model_messages_seen_total"),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_history_is_counted_once(name: System, tmp_path: Path) -> None:
    happen, counter = EVENTS[name]
    async with crowded(name, tmp_path) as (first, system):
        for _ in range(2):
            assert sum(values((await first.look())[1], counter).values()) == 0
        happen(system)
        await first.look()
        assert sum(values((await first.look())[1], counter).values()) == 1
        async with watching(name, first.watch.target) as second:  # type: ignore[arg-type]
            for _ in range(3):
                found = values((await second.look())[1], counter)
                assert found
                assert sum(found.values()) == 0
            happen(system)
            await second.look()
            assert sum(values((await second.look())[1], counter).values()) == 1
