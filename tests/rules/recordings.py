"""Recorded pages as series, with the labels Prometheus adds, and values that change as a case says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from provisioning.config.durations import parse_duration

TESTS = Path(__file__).parents[1]
_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_REPEATED = re.compile(r"(\d+) x \(([^)]*)\)")
_EPOCH = 1e9
_MOVING = ("_timestamp_seconds", "node_time_seconds")


@dataclass(frozen=True)
class Series:
    """One series: its labels as they stand between the braces, escapes included, and how it goes on."""

    name: str
    labels: dict[str, str] = field(hash=False)
    value: str

    def text(self) -> str:
        inner = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{inner}}}"


def page(
    page: str, labels: dict[str, str], only: Collection[str] = (), but: Mapping[str, str] | None = None
) -> list[Series]:
    """The series of a recorded page; what the page says itself wins over `labels`, as `honor_labels` has it.

    `only` names the metrics that are taken. With `but` they are further series, with these labels instead of their own;
    cases give them their samples.
    """
    series = [each for each in _recorded(page, labels) if not only or each.name in only]
    if but is None:
        return series
    return [replace(each, labels=each.labels | but, value="none") for each in series]


def _recorded(path: str, labels: dict[str, str]) -> list[Series]:
    rows = _rows(path)
    newest = max((value for name, _, value in rows if _is_epoch(name, value)), default=0.0)
    series = [Series(name, {**labels, **own}, _as_recorded(name, value, newest)) for name, own, value in rows]
    return [*series, Series("up", dict(labels), "1"), Series("scrape_duration_seconds", dict(labels), "0.05")]


@cache
def names(path: str) -> frozenset[str]:
    return frozenset(name for name, _, _ in _rows(path))


@cache
def _rows(path: str) -> list[tuple[str, dict[str, str], float]]:
    found = [_LINE.fullmatch(line) for line in (TESTS / path).read_text().splitlines() if not line.startswith("#")]
    return [(match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])) for match in found if match]


def _is_epoch(name: str, value: float) -> bool:
    return name.endswith("_seconds") and _EPOCH < value < 4 * _EPOCH


def _as_recorded(name: str, value: float, newest: float) -> str:
    """The recorded value; points in time move to the test's clock, which begins at 0."""
    if not _is_epoch(name, value):
        return repr(value)
    past = newest - value
    return f"now - {past}s" if name.endswith(_MOVING) else repr(-past)


def matches(series: Series, selector: str) -> bool:
    """Whether `NAME{label="value", other=~"regex"}` selects the series."""
    name, _, inner = selector.partition("{")
    if series.name != name:
        return False
    wanted = re.findall(r'(\w+)(=~|!=|=)"((?:[^"\\]|\\.)*)"', inner)
    return all(_fits(series.labels.get(label, ""), how, value) for label, how, value in wanted)


def _fits(have: str, how: str, wanted: str) -> bool:
    if how == "=~":
        return re.fullmatch(wanted, have) is not None
    return (have == wanted) == (how == "=")


def samples(value: str, step: float, length: float) -> str:
    """What promtool wants: a value for each step up to `length` seconds."""
    count = int(length / step) + 1
    if match := re.fullmatch(r"now(?: - (\S+))?", value):
        return f"{-_seconds(match[1] or '0s')}+{step}x{count}"
    parts: list[str] = []
    steps = 0
    for piece in _REPEATED.sub(lambda match: "; ".join([match[2]] * int(match[1])), value).split(";"):
        number, _, lasting = piece.strip().partition(" for ")
        number, _, growth = number.partition(" +")
        here = int(_seconds(lasting) / step) if lasting else max(count - steps, 1)
        parts.append(_run(number.strip(), growth.strip(), step, here))
        steps += here
    return " ".join(parts)


def _run(number: str, growth: str, step: float, count: int) -> str:
    if number in ("none", "gone"):
        return f"_x{count}" if number == "none" else f"stale _x{count}"
    each = 0.0
    if growth:
        match = re.fullmatch(r"(\S+)/(\S+)", growth)
        assert match, f"cannot read +{growth}"
        each = float(match[1]) * step / _seconds(match[2])
    return f"{float(number)!r}{'-' if each < 0 else '+'}{abs(each)!r}x{count - 1}"


def _seconds(text: str) -> float:
    return float(text[:-1]) if re.fullmatch(r"-?[\d.]+s", text) else parse_duration(text)
