"""The page of `/probe?debug=true`: one look at one target, told so that a person finds the fault.

No answer's body, no header and no secret is on it: calls are noted by `exporter.client.recording`, which keeps none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import yaml

from exporter.client.recording import Call, Recording
from exporter.collectors.base import Outcome
from exporter.families import encode
from exporter.scrape import Collection, Watch
from provisioning.config.model import Config
from provisioning.config.problems import printable
from provisioning.config.shown import shown


def page(watch: Watch, config: Config, collection: Collection, recording: Recording) -> str:
    """Plain text: what was asked, what was understood, the metrics, the configuration."""
    system, name = watch.collector.system, watch.target.name
    when = datetime.fromtimestamp(collection.finished, UTC).isoformat(timespec="seconds")
    state = "down" if not collection.up else "up, in part" if collection.error else "up"
    lines = [
        f"Look at the {system} target {name}: {state}",
        f"{when}, {collection.seconds:.3f} s, {collection.series} series",
        "",
        "# What was asked",
        *_calls(recording),
        "",
        "# What was understood",
        *(_part(part, outcome) for part, outcome in collection.outcomes.items()),
        "",
        "# Metrics",
    ]
    of_system = shown(config)["targets"][system]
    target = next(entry for entry in of_system if entry["name"] == name)
    text = yaml.safe_dump(target, sort_keys=False, allow_unicode=True)
    head = "\n".join(printable(line) for line in lines)
    return f"{head}\n{encode(collection.families, openmetrics=False)}\n# Configuration, secrets hidden\n{text}"


def _calls(recording: Recording) -> Iterator[str]:
    """A table: began, took, status, bytes, call, error."""
    if not recording.calls:
        yield "Nothing: every answer was kept from an earlier look, or this look was joined when it was under way."
        return
    yield f"{'began':>9} {'took':>9} {'status':>6} {'bytes':>9}  call"
    for call in recording.calls:
        yield _call(call)
    if recording.more:
        yield f"and {recording.more} more calls"


def _call(call: Call) -> str:
    took = "under way" if call.seconds is None else f"{call.seconds:.3f} s"
    status = "-" if call.status is None else call.status
    size = "-" if call.size is None else call.size
    line = f"{call.began:>7.3f} s {took:>9} {status:>6} {size:>9}  {call.what} at {call.where}"
    return f"{line}: {call.error}" if call.error else line


def _part(name: str, outcome: Outcome) -> str:
    if outcome.error is None:
        kept = ", an answer kept from an earlier look" if outcome.kept else ""
        return f"{name}: understood in {outcome.seconds:.3f} s{kept}"
    kept = " (at an earlier look; it is asked again after a while)" if outcome.kept else ""
    return f"{name}: failed after {outcome.seconds:.3f} s, {outcome.error.reason}: {outcome.error}{kept}"
