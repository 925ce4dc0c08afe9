"""The cases of `tests/rules/*.yml`; README.md says how to write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from provisioning.config.durations import parse_duration

FOLDER = Path(__file__).parent
KINDS = ("fires", "silent", "absent")
_KEYS = frozenset(
    {"given", "after", "labels", "summary", "without", "gone", "fires", "every", "config", "targets", "also", "note"}
)


@dataclass(frozen=True)
class Case:
    """One test of one alert."""

    file: str
    alert: str
    """Empty for all of the file."""
    kind: str
    number: int
    after: float
    pages: tuple[dict[str, Any], ...] = field(hash=False)
    given: dict[str, str] = field(hash=False)
    without: tuple[str, ...]
    gone: tuple[str, ...]
    every: float
    labels: dict[str, str] | None = field(hash=False)
    """Of the alert that must fire; None when it must not."""
    summary: str
    also: tuple[str, ...]
    config: str
    """A cluster-ai.yml."""

    def __str__(self) -> str:
        return f"{self.alert or self.file}-{self.kind}" + (f"-{self.number}" if self.number else "")


def cases() -> Iterator[Case]:
    """Every case of every file."""
    for file in sorted(FOLDER.glob("*.yml")):
        yield from read(file)


@cache
def read(file: Path) -> list[Case]:
    """The cases of one file; the first is all of its rules over what was recorded, with nothing changed."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    pages = tuple(data.pop("pages"))
    unchanged = {"after": "2h", "every": "30s", "also": data.pop("always", [])}
    return [
        _case(file.stem, "", "silent", 0, unchanged, pages),
        *(
            _case(file.stem, alert, kind, number, entry, pages)
            for alert, kinds in data.items()
            for kind, entries in kinds.items()
            for number, entry in enumerate(entries if isinstance(entries, list) else [entries])
        ),
    ]


def _case(  # noqa: PLR0917
    file: str, alert: str, kind: str, number: int, entry: dict[str, Any], pages: tuple[dict[str, Any], ...]
) -> Case:
    where = f"{file}.yml: {alert}: {kind}"
    assert kind in KINDS, f"{where}: there is no such kind of case"
    assert not entry.keys() - _KEYS, f"{where}: no such key: {entry.keys() - _KEYS}"
    fires = entry.get("labels", {}) if kind == "fires" else entry.get("fires")
    assert kind != "fires" or "summary" in entry, f"{where}: say the summary"
    return Case(
        file=file,
        alert=alert,
        kind=kind,
        number=number,
        after=parse_duration(entry["after"]),
        pages=pages,
        given={selector: str(value) for selector, value in entry.get("given", {}).items()},
        without=tuple(entry.get("without", ())),
        gone=tuple(entry.get("gone", ())),
        every=parse_duration(entry.get("every", "5s")),
        labels=fires,
        summary=entry.get("summary", ""),
        also=tuple(entry.get("also", ())),
        config=yaml.safe_dump({"targets": entry.get("targets", {}), "alerts": entry.get("config", {})}),
    )
