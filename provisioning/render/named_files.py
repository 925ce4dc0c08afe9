"""The files that a configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel


def named_files(value: object) -> Iterator[Path]:
    """Every file that a part of the configuration names."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from named_files(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from named_files(inner)


def in_web_config(path: Path) -> Iterator[Path]:
    """The certificates that the exporter's web configuration names, relative to it."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # `cluster-ai check` says what is wrong with it
    tls = settings.get("tls_server_config") if isinstance(settings, dict) else None
    for key, value in (tls if isinstance(tls, dict) else {}).items():
        if str(key).endswith("_file") and isinstance(value, str):
            yield path.parent / value
