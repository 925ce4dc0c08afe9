"""What `cluster-ai status` shows: the supervisor's record and the exporter's view of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from compose.native import record
from compose.native.access import Access, AccessError
from compose.native.places import State, shown
from compose.native.record import Record, ServiceRecord
from compose.native.service import Condition
from provisioning.config.load import load
from provisioning.config.problems import ConfigError, printable

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
    """Each configured target with what the exporter that watches it says."""
    exporters = [one for one in now.services if one.name.partition("-")[0] == "exporter"]
    optional = {one.name for one in now.targets if one.optional}
    seen: dict[str, Target] = {}
    silent = [one for one in exporters if one.url is None]
    for one in exporters:
        try:
            rows = _ask(one.url, now) if one.url else []
            seen |= {
                row["name"]: Target(row["name"], row["system"], row["up"], row["error"], row["name"] in optional)
                for row in rows
            }
        except (httpx.HTTPError, AccessError, ValueError, KeyError, TypeError):
            silent.append(one)
    if not silent and exporters:
        return list(seen.values())
    why = _why(silent)
    return [seen.get(one.name) or Target(one.name, one.system, None, why, one.optional) for one in now.targets]


def _why(silent: list[ServiceRecord]) -> str | None:
    """Why some targets are not known; None while the exporter starts."""
    if any(one.url for one in silent):
        return "the exporter does not answer"
    return "its exporter runs on another machine" if any(one.detail for one in silent) else None


def _ask(url: str, now: Record) -> list[dict[str, Any]]:
    answer = _access(now).get(f"{url}/targets")
    answer.raise_for_status()
    return list(answer.json())


def _access(now: Record) -> Access:
    """The way in that the configuration names; a file that has become unreadable says nothing of one."""
    try:
        return Access(load(Path(now.config)).exporter)
    except ConfigError:
        return Access()


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
