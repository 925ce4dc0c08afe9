"""What a finding is. Every kind has a stable id that scripts and docs/doctor.md name."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Severity(StrEnum):
    """How bad: monitoring fails, it misleads or something is unsafe, good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: what it means and how it is mended, for docs/doctor.md."""

    id: str
    severity: Severity
    meaning: str
    mend: str

    def found(self, seen: str, mend: str = "") -> Finding:
        """A finding of this kind: what was seen, and the mend where it is more exact than the usual one."""
        return Finding(self.id, self.severity, seen, mend or self.mend)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend on one target. `seen` may quote the target and is not to be trusted."""

    id: str
    severity: Severity
    seen: str
    mend: str


def error(id: str, meaning: str, mend: str) -> Kind:
    """A kind with which monitoring fails."""
    return Kind(id, Severity.ERROR, meaning, mend)


def warning(id: str, meaning: str, mend: str) -> Kind:
    """A kind with which monitoring misleads, or something is unsafe."""
    return Kind(id, Severity.WARNING, meaning, mend)


def info(id: str, meaning: str, mend: str) -> Kind:
    """A kind that is good to know."""
    return Kind(id, Severity.INFO, meaning, mend)


@cache
def kinds() -> dict[str, list[Kind]]:
    """Every kind by the module of the doctor that finds it."""
    package = importlib.import_module("exporter.doctor")
    found: dict[str, list[Kind]] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        values = vars(importlib.import_module(f"exporter.doctor.{module.name}")).values()
        mine = [value for value in values if isinstance(value, Kind)]
        if mine:
            found[module.name] = mine
    return found
