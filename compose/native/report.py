"""What `cluster-ai status` shows: the supervisor's record and the exporter's view of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from compose.native import record
from compose.native.places import State, shown
from compose.native.record import Record
from compose.native.service import Condition
from provisioning.config.problems import printable

_PATIENCE = 3.0  # s
_NO_TARGETS = "No Dask, Ollama or Open WebUI is in this configuration."


@dataclass(frozen=True, slots=True)
class Target:
    """A target as the exporter last saw it; `up` is None before the first look."""

    name: str
    system: str
    up: bool | None
    error: str | None
    optional: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The stack at this moment."""

    running: bool
    record: Record
    targets: list[Target]


def look(state: State) -> Seen:
    """Reads the record of a running supervisor and asks its exporter for the targets."""
    if record.supervisor(state) is None:
        return Seen(running=False, record=Record(), targets=[])
    now = record.read(state)
    return Seen(running=True, record=now, targets=_targets(now))


def healthy(seen: Seen) -> bool:
    """Whether every service runs or is absent."""
    return all(one.state in (Condition.RUNNING, Condition.ABSENT) for one in seen.record.services)


def as_data(seen: Seen) -> dict[str, Any]:
    """For `--json`."""
    return {
        "services": [
            {"name": one.name, "state": str(one.state), "url": one.url, "pid": one.pid} for one in seen.record.services
        ],
        "targets": [{"name": one.name, "system": one.system, "up": one.up, "error": one.error} for one in seen.targets],
    }


def as_text(seen: Seen) -> str:
    """For people. What a target's error quotes of its answer must not paint on the terminal."""
    services = [
        (one.name, str(one.state), one.url or "", str(one.pid or ""), _notes(one)) for one in seen.record.services
    ]
    targets = [(one.name, one.system, _word(one), printable(one.error or "")) for one in seen.targets]
    title = f"config: {shown(Path(seen.record.config))}" + (" (demo)" if seen.record.demo else "")
    return "\n".join(
        [
            title,
            "",
            *_table(("SERVICE", "STATE", "ADDRESS", "PID", ""), services),
            "",
            *(_table(("TARGET", "SYSTEM", "STATE", "LAST ERROR"), targets) if targets else [_NO_TARGETS]),
        ]
    )


def _targets(now: Record) -> list[Target]:
    exporter = now.service("exporter")
    if exporter is None or exporter.url is None:
        return [Target(one.name, one.system, None, None, one.optional) for one in now.targets]
    optional = {one.name for one in now.targets if one.optional}
    try:
        answer = httpx.get(f"{exporter.url}/targets", timeout=_PATIENCE, trust_env=False)
        answer.raise_for_status()
        rows = answer.json()
        return [Target(row["name"], row["system"], row["up"], row["error"], row["name"] in optional) for row in rows]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        why = "the exporter does not answer"
        return [Target(one.name, one.system, None, why, one.optional) for one in now.targets]


def _word(target: Target) -> str:
    if target.up is None:
        return "not seen yet"
    if target.up:
        return "up"
    return "absent" if target.optional else "down"


def _notes(service: record.ServiceRecord) -> str:
    again = f"restarted {service.restarts} times" if service.restarts > 1 else "restarted once"
    return "; ".join(part for part in (again if service.restarts else "", service.detail) if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
