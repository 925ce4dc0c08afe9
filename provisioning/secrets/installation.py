"""One production installation: its `cluster-ai.yml`, and where its parts and files are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from provisioning.config.load import load
from provisioning.config.model import Config
from provisioning.config.production import Production
from provisioning.render.places import Places
from provisioning.render.production_places import ProductionPlaces, in_containers


class NotProductionError(Exception):
    """There is nothing to do here; `str()` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the commands of this host work on. `secrets`, `data` and `backups` lie beside `file`."""

    file: Path
    config: Config
    """As it is in the containers."""
    places: Places
    production: Production
    parts: ProductionPlaces

    @property
    def folder(self) -> Path:
        """Holds everything that is this installation."""
        return self.file.parent

    @property
    def secrets(self) -> Path:
        """Readable by the owner alone."""
        return self.places.secrets


def installation(file: Path, *, postgres: str | None = None, redis: str | None = None) -> Installation:
    """That of a `cluster-ai.yml`; the addresses are for where it is not containers that are asked.

    Raises ConfigError, and NotProductionError for a file without `production`.
    """
    config = load(file)
    if config.production is None:
        raise NotProductionError(f"{file} has no `production`; these commands are for a host that has one")
    inside, places = in_containers(config, file.absolute().parent)
    assert places.production is not None  # noqa: S101 -- that is what the function is for
    parts = places.production
    parts = replace(parts, postgres=postgres or parts.postgres, redis=redis or parts.redis)
    return Installation(
        file=file.absolute(),
        config=inside,
        places=replace(places, production=parts),
        production=config.production,
        parts=parts,
    )
