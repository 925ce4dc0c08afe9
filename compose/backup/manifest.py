"""What a backup says of itself: its parts, and what was in the database at the moment it was made."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from provisioning.config.problems import printable

MANIFEST = "manifest.json"
DATABASE = "database/"
"""Begins the names of the dump's pieces, which are in order."""
CONFIGURATION = "files/cluster-ai.yml"
SECRETS = "files/secrets/"
NEEDED = (CONFIGURATION, f"{SECRETS}grafana-secret-key", f"{DATABASE}000000")
_NAME = re.compile(r"cluster-ai-(\d{8}T\d{6}Z)\.age")
_TIME = "%Y%m%dT%H%M%SZ"


class BackupError(Exception):
    """It could not be done; `str()` says why, in a line for people, whatever names an archive has."""

    def __init__(self, why: str) -> None:
        super().__init__(printable(why))


class NotTestedError(BackupError):
    """What opens or restores a backup is missing here, so that nothing is known of the backup."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Strict):
    """One piece of the archive."""

    size: int
    sha256: str


class Table(_Strict):
    """What was in one table."""

    rows: int
    checksum: str
    """The sum over all rows of a part of each row's MD5: the same in whatever order they come."""


class Contents(_Strict):
    """What was in the database."""

    tables: dict[str, Table]
    sequences: dict[str, int]
    """The last numbers given out when the dump began; it may be a little ahead of them."""
    objects: list[str]
    """Tables, indexes, views and constraints, by name."""


class Manifest(_Strict):
    """The last part of every archive."""

    format: int = 1
    made: datetime
    name: str
    version: str
    """Of this program."""
    server: str
    """PostgreSQL's own version."""
    parts: dict[str, Part]
    contents: Contents


def file_name(made: datetime) -> str:
    """The name of a backup made then."""
    return f"cluster-ai-{made.astimezone(UTC).strftime(_TIME)}.age"


def made_at(path: Path) -> datetime | None:
    """When the backup of that name was made; None for any other file."""
    found = _NAME.fullmatch(path.name)
    return datetime.strptime(found[1], _TIME).replace(tzinfo=UTC) if found else None


def backups(folder: Path) -> dict[Path, datetime]:
    """The finished backups in a folder, the oldest first."""
    found = {path: made for path in folder.glob("cluster-ai-*.age") if (made := made_at(path))}
    return dict(sorted(found.items(), key=lambda one: one[1]))


def differences(then: Contents, now: Contents) -> list[str]:
    """What a restored database has otherwise than the one that was saved, a line each."""
    found = [f"table {name} is missing" for name in then.tables if name not in now.tables]
    found += [f"table {name} was not there" for name in now.tables if name not in then.tables]
    for name, table in then.tables.items():
        restored = now.tables.get(name, table)
        if restored.rows != table.rows:
            found.append(f"table {name} has {restored.rows} rows, and had {table.rows}")
        elif restored.checksum != table.checksum:
            found.append(f"table {name} has other contents")
    found += [
        f"sequence {name} would give out numbers again"
        for name, value in then.sequences.items()
        if now.sequences.get(name, -1) < value
    ]
    found += [f"{name} is missing" for name in then.objects if name not in now.objects]
    return found
