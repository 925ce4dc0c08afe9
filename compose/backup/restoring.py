"""Brings an installation back from a backup: its files, then its database."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from compose.backup import archive, database
from compose.backup.archive import PIECE
from compose.backup.making import OUTSIDE
from compose.backup.manifest import DATABASE, BackupError, Manifest
from provisioning.config.problems import printable
from provisioning.config.secrets import SecretError
from provisioning.secrets.database import AwayError, DatabaseError, query
from provisioning.secrets.installation import Installation

Say = Callable[[str], None]
_INSIDE = "files/"
_LOOK = 1.0  # s between looks whether PostgreSQL answers


@dataclass(slots=True)
class Plan:
    """What the files of a backup would do here."""

    manifest: Manifest
    new: list[Path] = field(default_factory=list)
    """Are not there."""
    same: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)
    """Are there with other contents."""


def files(file: Path, identity: Path, folder: Path, *, overwrite: bool, dry_run: bool, say: Say) -> Plan:
    """Writes the files of a backup into the installation's folder, after all of the backup was found to be true.

    Raises BackupError; what is there with other contents is a reason, unless `overwrite`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".restoring-") as name:  # on the same disk
            taken, manifest = _unpack(file, identity, Path(name), folder)
            plan = Plan(manifest)
            _fit(taken, folder)
            for target, piece in taken.items():
                _kind(plan, target, piece).append(target)
            _tell(plan, folder, say)
            if plan.other and not overwrite and not dry_run:
                raise BackupError(
                    f"nothing was changed: {len(plan.other)} files are here with other contents; see --overwrite"
                )
            if not dry_run:
                for target in (*plan.new, *plan.other):
                    _arrive(taken[target], target, folder)
    except OSError as error:
        raise BackupError(f"cannot write {error.filename or folder}: {error.strerror}") from None
    return plan


def grafana(
    there: Installation, file: Path, identity: Path, *, overwrite: bool, dry_run: bool, patience: float, say: Say
) -> None:
    """Puts the backup's database in the place of Grafana's, once PostgreSQL answers. Raises BackupError."""
    manifest = archive.check(file, identity)
    tables = manifest.contents.tables
    say(f"database: {len(tables)} tables with {sum(table.rows for table in tables.values())} rows")
    try:
        _wait(there, patience)
        if not database.is_empty(there) and not overwrite:
            raise BackupError(
                f"nothing was changed: PostgreSQL at {there.parts.postgres} has a database; see --overwrite"
            )
        if dry_run:
            return
        if database.replace(there, file, identity, manifest):
            say(f"the database that was there is now called {database.REPLACED}, until the next restore")
    except (DatabaseError, SecretError) as error:
        raise BackupError(str(error)) from None
    say("the database holds what was saved")


def _wait(there: Installation, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            query(database.superuser(there), "postgres", "SELECT 1")
        except AwayError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK)
        else:
            return


def _unpack(file: Path, identity: Path, scratch: Path, folder: Path) -> tuple[dict[Path, Path], Manifest]:
    """The files as they are to be, by where they go."""
    taken: dict[Path, Path] = {}

    def take(name: str, content: IO[bytes], mode: int) -> None:
        if name.startswith(DATABASE):
            return
        target = _target(name, folder)
        if target in taken:
            raise BackupError(f"{name} is there twice")
        piece = scratch / str(len(taken))
        descriptor = os.open(piece, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            while data := content.read(PIECE):
                out.write(data)
            os.fchmod(descriptor, mode & 0o777)
            out.flush()
            os.fsync(descriptor)
        taken[target] = piece

    manifest = archive.read(file, identity, take)
    return taken, manifest


def _target(name: str, folder: Path) -> Path:
    """Where a part goes: never out of the installation's folder."""
    inside = Path(name.removeprefix(_INSIDE))
    strays = not inside.parts or ".." in inside.parts or inside.is_absolute()
    if name.startswith((_INSIDE, f"{OUTSIDE}/")) and not strays and "\0" not in name:
        return folder / inside
    raise BackupError(f"{name} has no place in a backup")


def _fit(taken: Iterable[Path], folder: Path) -> None:
    """Raises BackupError, before anything is placed, where a file would have to be a folder, too."""
    files = set(taken)
    for target in files:
        for parent in target.parents:
            if parent in files or (parent.is_relative_to(folder) and parent.exists() and not parent.is_dir()):
                raise BackupError(f"nothing was changed: {parent} is a file, and {target} would lie in it")


def _kind(plan: Plan, target: Path, piece: Path) -> list[Path]:
    if not target.exists():
        return plan.new
    return plan.same if target.read_bytes() == piece.read_bytes() else plan.other


def _tell(plan: Plan, folder: Path, say: Say) -> None:
    made = plan.manifest
    say = _plainly(say)
    by = f"cluster-ai {made.version} from PostgreSQL {made.server}"
    say(f"backup of {made.name}, {made.made:%Y-%m-%d %H:%M} UTC, made by {by}")
    say(f"files in {folder}: {len(plan.new)} new, {len(plan.same)} as they are, {len(plan.other)} overwritten")
    for path in plan.other:
        say(f"  overwrites {path}")
    for path in (*plan.new, *plan.same, *plan.other):
        if path.is_relative_to(folder / OUTSIDE):
            say(f"  {path} belongs at /{path.relative_to(folder / OUTSIDE)}")


def _plainly(say: Say) -> Say:
    """What an archive says of itself may hold anything, also what a terminal obeys."""
    return lambda line: say(printable(line))


def _arrive(piece: Path, target: Path, folder: Path) -> None:
    for parent in reversed(target.parents):
        if parent.is_relative_to(folder) and parent != folder:
            parent.mkdir(mode=0o700, exist_ok=True)
    piece.replace(target)
