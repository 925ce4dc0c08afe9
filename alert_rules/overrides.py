"""Which numbers hold for whom: the installation's thresholds, and those of single targets and hosts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from alert_rules.thresholds import defaults, in_force
from provisioning.config.alerts import Alerts

SUBJECTS = ("target", "host")
"""The labels that say whom an alert is about, the first that it has."""


def subject(labels: Collection[str]) -> str | None:
    """The label by which overrides apply to an alert with these labels; None when it is about no single target."""
    return next((label for label in SUBJECTS if label in labels), None)


def number(value: float) -> str:
    """The value as PromQL and people write it: 3600, 0.05."""
    return str(int(value)) if value == int(value) else repr(value)


class Limits:
    """Thresholds as an expression reads them, `limit.NAME`; remembers which were asked for."""

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self._numbers = numbers
        self.used: dict[str, float] = {}

    def __getattr__(self, name: str) -> str:
        if name.startswith("_") or name not in self._numbers:
            raise AttributeError(name)  # Jinja's StrictUndefined then names the file and the line
        self.used[name] = self._numbers[name]
        return number(self._numbers[name])


@dataclass(frozen=True, slots=True)
class Case:
    """Some targets (or hosts) for whom the same numbers replace those of the installation."""

    names: tuple[str, ...]
    numbers: Mapping[str, float]


class Overrides:
    """Reads `alerts:` of cluster-ai.yml for one rule after the other."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self.numbers = in_force(alerts.thresholds)

    def is_off(self, alert: str) -> bool:
        """Whether nobody wants this alert."""
        return alert in self._alerts.disabled

    def off_for(self, alert: str) -> tuple[str, ...]:
        """The targets and hosts for which this alert is never raised."""
        return tuple(sorted({entry.target for entry in self._alerts.overrides if alert in entry.disabled}))

    def cases(self, used: Collection[str], without: Collection[str] = ()) -> list[Case]:
        """One case for each set of numbers, among the thresholds in `used`, that differs from the installation's."""
        found: dict[tuple[tuple[str, float], ...], list[str]] = {}
        for entry in self._alerts.overrides:
            own = {name: float(value) for name, value in entry.thresholds.items() if name in used}
            differing = tuple(sorted((name, value) for name, value in own.items() if value != self.numbers[name]))
            if differing and entry.target not in without:
                found.setdefault(differing, []).append(entry.target)
        return [Case(tuple(sorted(names)), {**self.numbers, **dict(own)}) for own, names in sorted(found.items())]

    def of(self, threshold: str) -> dict[str, float]:
        """Targets and hosts with a number of their own for one threshold."""
        return {
            entry.target: float(entry.thresholds[threshold])
            for entry in self._alerts.overrides
            if threshold in entry.thresholds
        }


def spoken(name: str, value: float) -> str:
    """A threshold as a message says it, in the unit its name ends in: `80 %`, `30 s`, `50 MB`."""
    if name not in defaults():
        raise KeyError(name)
    plain = name.removesuffix("_critical")
    if plain.endswith("_ratio"):
        return f"{number(round(value * 100, 6))} %"
    if plain.endswith("_seconds"):
        return _duration(value)
    if "_bytes" in plain:
        return _size(value) + ("/s" if plain.endswith("_per_second") else "")
    return f"{number(value)} °C" if plain.endswith("_celsius") else number(value)


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def _size(value: float) -> str:
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if value >= size:
            return f"{number(round(value / size, 3))} {unit}"
    return f"{number(value)} B"
