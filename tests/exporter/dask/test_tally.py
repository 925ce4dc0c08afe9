"""Counters grow look by look: what one look counted is added to what the ones before it did."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.collectors.dask_events import MEMORY_RESTARTS, SCHEDULER, Tally, count, decode_events
from exporter.errors import CollectError
from exporter.families import encode

LEFT = {"action": "remove-worker", "worker": "tcp://a:1", "expected": True, "processing-tasks": {"x": 1, "y": 2}}
LOST = LEFT | {"expected": False, "lost-computed-tasks": ("x", "y", "z"), "lost-scattered-tasks": ("w",)}
JOINED = {"action": "add-worker", "worker": "tcp://a:1"}
SILENT = {"action": "worker-ttl-timed-out", "workers": ("tcp://a:1", "tcp://b:1")}


def look() -> Tally:
    """Everything that is counted, twice, with things between that are not."""
    tally = Tally()
    events = [(1.0, JOINED), (1.5, "no event"), (2.0, LEFT), (3.0, LOST), (3.5, None), (4.0, JOINED)]
    for removal in count("all", [*events, *events], tally):
        tally.remove(removal)
    count(SCHEDULER, [(1.0, SILENT), (1.1, 7), (2.0, {"action": "other", "workers": ("c",)}), (3.0, SILENT)], tally)
    count(SCHEDULER, [(4.0, {"action": "worker-ttl-timed-out"})], tally)
    count(MEMORY_RESTARTS, [(1.0, {}), (2.0, "anything")], tally)
    tally.overflows["all"] += 1
    return tally


@pytest.mark.parametrize("looks", [1, 3])
def test_each_look_adds(looks: int) -> None:
    whole = Tally()
    for _ in range(looks):
        whole.add(look())
    lines = encode(whole.families((2026, 8, 0)), openmetrics=False).splitlines()
    got = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    prefix = "dask_cluster_worker"
    assert {name: float(value) / looks for name, value in got.items()} == {
        f"{prefix}_additions_total": 4,
        f'{prefix}_removals_total{{expected="true"}}': 2,
        f'{prefix}_removals_total{{expected="false"}}': 2,
        f'{prefix}_removals_total{{expected="unknown"}}': 0,
        f'{prefix}_removal_processing_tasks_total{{expected="true"}}': 4,
        f'{prefix}_removal_processing_tasks_total{{expected="false"}}': 4,
        f'{prefix}_removal_processing_tasks_total{{expected="unknown"}}': 0,
        f'{prefix}_removal_lost_results_total{{kind="computed"}}': 6,
        f'{prefix}_removal_lost_results_total{{kind="scattered"}}': 2,
        f"{prefix}_memory_restarts_total": 2,
        f"{prefix}_heartbeat_timeouts_total": 4,
        'dask_cluster_event_window_overflows_total{topic="all"}': 1,
        'dask_cluster_event_window_overflows_total{topic="worker-restart-memory"}': 0,
        'dask_cluster_event_window_overflows_total{topic="scheduler"}': 0,
    }


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("events", "the scheduler's `events` are not a list; is it a Dask scheduler?"),
        ([[1.0]], "the scheduler's `events` are not pairs of time and message"),
        ([["soon", {}]], "the scheduler's `events` are not pairs of time and message"),
    ],
)
def test_what_is_no_list_of_events(reply: Any, words: str) -> None:
    with pytest.raises(CollectError) as caught:
        decode_events(reply)
    assert str(caught.value) == words
