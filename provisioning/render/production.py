"""The files of what only a production stack has: its door, database, cache, and what watches them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from provisioning.config.model import Config
from provisioning.render import certbot, logs, nginx, postgres, prometheus_production, redis
from provisioning.render.places import Places

Part = Callable[[Config, Places, Path, str], dict[str, str]]
"""Given the configuration, the places, the folder written into and what to edit instead: texts by their path in it."""

PARTS: tuple[Part, ...] = (
    nginx.files,
    postgres.files,
    redis.files,
    prometheus_production.files,
    certbot.files,
    logs.files,
)


def files(config: Config, places: Places, out: Path, source: str) -> dict[Path, str]:
    """Every such file, by where it goes; none on a laptop."""
    if places.production is None:
        return {}
    return {out / name: text for part in PARTS for name, text in part(config, places, out, source).items()}
