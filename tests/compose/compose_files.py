"""Compose files put together as Compose does it, as far as ours go; tests/real compares with Compose itself."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "compose"
BASE, PROD, DEV = (FOLDER / f"docker-compose{kind}.yml" for kind in ("", ".prod", ".dev"))
_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Z_]+)(?::([-?])([^}]*))?\})")
# What later files add to; all other lists are replaced.
_ADDED = {"volumes", "ports", "networks", "security_opt", "cap_drop", "tmpfs"}


def variables(file: Path) -> dict[str, str]:
    """The lines of a `.env` file."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def named(file: Path) -> set[str]:
    """Every variable that a file asks for."""
    return {found[1] for found in _VARIABLE.findall(file.read_text()) if found[1]}


def together(files: Iterable[Path], values: Mapping[str, str]) -> dict[str, Any]:
    """All of them as one, with every service, whatever its profile."""
    whole: dict[str, Any] = {}
    for file in files:
        data = _filled(yaml.safe_load(file.read_text()), values)
        for service in data.get("services", {}).values():
            _extend(service, file, values)
        whole = _merged(whole, data)
    return whole


def _extend(service: dict[str, Any], file: Path, values: Mapping[str, str]) -> None:
    other = service.pop("extends", None)
    if other is not None:
        parent = together([file.parent / other["file"]], values)["services"][other["service"]]
        own = copy.deepcopy(service)
        service.clear()
        service.update(_merged(parent, own))


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    return _VARIABLE.sub(lambda found: _value(found, values), value) if isinstance(value, str) else value


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    if found[1]:
        return "$"
    if found[2] in values:
        return values[found[2]]
    assert found[3] == "-", f"{found[2]} has no value"
    return found[4]


def _merged(old: Any, new: Any, key: str = "") -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        if new.get("driver") not in {None, old.get("driver")}:  # options are one driver's
            return new
        both = {name: _merged(old[name], new[name], name) for name in old.keys() & new.keys()}
        return {**old, **new, **both}
    if isinstance(old, list) and isinstance(new, list) and key in _ADDED:
        return [*old, *(entry for entry in new if entry not in old)]
    return new
