"""Durations and sizes as operators write them: `5s`, `1m30s`, `90d`, `10GB`."""

from __future__ import annotations

import re

from provisioning.config.problems import brief

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w|y)")
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w|y))+$"


def is_duration(text: str) -> bool:
    """Whether `text` is a duration as a whole."""
    return re.fullmatch(DURATION_PATTERN[1:-1], text) is not None


def parse_duration(value: object) -> float:
    """Seconds of a Prometheus-style duration such as `5s`, `1m30s` or `90d`.

    Raises ValueError for anything else; a bare number is refused because its unit would be a guess.
    """
    if not isinstance(value, str) or not is_duration(value):
        shown = brief(value) if isinstance(value, str) else str(value).lower()
        raise ValueError(f"{shown} is not a duration; write a number with a unit, such as 5s, 1m30s or 90d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(value))


def format_duration(seconds: float) -> str:
    """The shortest Prometheus duration of whole milliseconds that equals `seconds`."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        size = round(_UNITS[unit] * 1000)
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
