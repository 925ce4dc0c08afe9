"""Finds the collectors: every module here that has a `COLLECTOR` is a system."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from exporter.collectors.base import Collector


@cache
def registry() -> dict[str, type[Collector]]:
    """Collector classes by system name."""
    found: dict[str, type[Collector]] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        collector = getattr(importlib.import_module(f"{__name__}.{module.name}"), "COLLECTOR", None)
        if collector is not None:
            found[collector.system] = collector
    return found
