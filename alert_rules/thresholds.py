"""Reads `defaults.yml`, and puts an installation's own numbers in place of the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml


@cache
def defaults() -> Mapping[str, float]:
    """Every threshold by name; ratios are 0 to 1, the rest in the unit its name ends in."""
    data = yaml.safe_load(files("alert_rules").joinpath("defaults.yml").read_text(encoding="utf-8"))
    return MappingProxyType({name: float(value) for name, value in data.items()})


def unknown(names: Iterable[str]) -> dict[str, str]:
    """The names that no default has, each with the one that was probably meant, or an empty text."""
    wrong = sorted(set(names) - set(defaults()))
    return {name: next(iter(get_close_matches(name, defaults(), n=1)), "") for name in wrong}


def impossible(given: Mapping[str, float]) -> dict[str, str]:
    """The numbers that can never be reached, or always are, each with what is wrong with it; unknown names aside."""
    numbers = in_force(given)
    found = {}
    for name, value in given.items():
        if name not in numbers:
            continue
        pair = name.removesuffix("_critical") if name.endswith("_critical") else f"{name}_critical"
        warning, critical = sorted((name, pair), key=len)
        if value < 0:
            found[name] = "is below 0, which is always exceeded"
        elif "_ratio" in name and value > 1:
            found[name] = "is a ratio, at most 1: write 0.8 for 80 %"
        elif pair in numbers and numbers[warning] >= numbers[critical]:
            found[name] = f"must be {'above' if name == critical else 'below'} {pair}, which is {numbers[pair]:g}"
    return found


def in_force(overrides: Mapping[str, float]) -> Mapping[str, float]:
    """The defaults with the numbers of `alerts.thresholds`; a name that no default has changes nothing."""
    return MappingProxyType({name: float(overrides.get(name, value)) for name, value in defaults().items()})
