"""Divides every duration in rendered files by a factor, so that an hour of production passes in minutes.

What a look at a system takes does not shrink with the clock: scrapes are never more often than FLOOR, and a range never
shorter than what holds a few of them. Thresholds in seconds are not durations of the stack's; the game day's
cluster-ai.yml names those that it changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from provisioning.render.files import yaml_text

FLOOR = 1.0  # s, the shortest scrape interval
RANGE_FLOOR = 5.0  # s, the shortest range: five scrapes
_TICK = 0.05  # s, anything else
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_PART = re.compile(r"(\d+)(ms|s|m|h|d|w|y)")
_DURATION = r"(?:\d+(?:ms|s|m|h|d|w|y))+"
_RANGE = re.compile(rf"\[\s*({_DURATION})\s*(:)?\s*({_DURATION})?\s*\]")
_OFFSET = re.compile(rf"\b(offset\s+-?)({_DURATION})")
_SCRAPES = frozenset({"scrape_interval", "scrape_timeout"})
_OTHERS = frozenset(
    {
        *("evaluation_interval", "refresh_interval", "interval", "for", "keep_firing_for"),
        *("group_wait", "group_interval", "repeat_interval", "resolve_timeout"),
    }
)


def scaled(data: Any, factor: float) -> Any:
    """The same configuration with its durations divided: intervals, waits, and the ranges of expressions."""
    if isinstance(data, list):
        return [scaled(one, factor) for one in data]
    if not isinstance(data, dict):
        return data
    return {key: _value(key, value, factor) for key, value in data.items()}


def _value(key: str, value: Any, factor: float) -> Any:
    if not isinstance(value, str):
        return scaled(value, factor)
    if key == "expr":
        return expression(value, factor)
    if key in _SCRAPES:
        return _divided(value, factor, FLOOR)
    if key in _OTHERS:
        return _divided(value, factor, _TICK)
    return value


def expression(promql: str, factor: float) -> str:
    """PromQL with its ranges, steps of subqueries and offsets divided."""

    def ranged(found: re.Match[str]) -> str:
        step = _divided(found[3], factor, FLOOR) if found[3] else ""
        return f"[{_divided(found[1], factor, RANGE_FLOOR)}{found[2] or ''}{step}]"

    def moved(found: re.Match[str]) -> str:
        return found[1] + _divided(found[2], factor, _TICK)

    return _OFFSET.sub(moved, _RANGE.sub(ranged, promql))


def seconds(duration: str) -> float:
    """Of a duration as Prometheus writes it, such as 1h30m."""
    if not re.fullmatch(_DURATION, duration):
        raise ValueError(f"{duration!r} is no duration")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(duration))


def _divided(duration: str, factor: float, floor: float) -> str:
    if duration == "0s":
        return duration
    whole = seconds(duration)
    return f"{round(max(whole / factor, min(whole, floor)) * 1000)}ms"


def scale_files(folder: Path, factor: float, change: Callable[[Path, Any], Any] = lambda _, data: data) -> None:
    """Rewrites the rendered prometheus.yml, alertmanager.yml and rules of a folder; `change` may do more to each."""
    for path in (folder / "prometheus.yml", folder / "alertmanager.yml", *sorted((folder / "rules").glob("*.yml"))):
        data = change(path, scaled(yaml.safe_load(path.read_text()), factor))
        path.write_text(yaml_text(data, f"a game day at {factor:g} times the usual pace"))
