"""Makes one backup."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from compose.backup.archive import PIECE, Writer, writing
from compose.backup.contents import snapshot
from compose.backup.manifest import CONFIGURATION, DATABASE, MANIFEST, BackupError, Manifest, file_name
from provisioning.config.secrets import SecretError
from provisioning.render.containers import UNSAVED
from provisioning.render.postgres import DATABASE as GRAFANA
from provisioning.secrets.database import DatabaseError, Login, failure
from provisioning.secrets.files import read
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import NEXT, PREVIOUS, RECIPIENTS

FOLDER = "backups"
OUTSIDE = "outside"
"""Begins the names of files that `cluster-ai.yml` names and that are not in the installation's folder."""
_KEPT = ("alertmanager/silences", "alertmanager/nflog")
"""Alertmanager's memory of silences and of what was told, as it last wrote it down: at most 15 minutes old."""
_PART = ".part"


def make(there: Installation, now: datetime) -> Path:
    """A new backup, on disk under its final name. Raises BackupError; then nothing is left of it."""
    path = there.folder / FOLDER / file_name(now)
    part = path.with_name(f".{path.name}{_PART}")
    try:
        for left in path.parent.glob(f".*{_PART}"):  # of one that was killed
            left.unlink()
        if path.exists():
            raise BackupError(f"{path} is there already; try again in a second")
        recipients = there.secrets / RECIPIENTS
        with writing(part, recipients) as writer:
            _fill(writer, there, now)
        part.rename(path)
        _sync(path.parent)
    except (DatabaseError, SecretError) as error:
        raise BackupError(str(error)) from None
    except OSError as error:
        raise BackupError(f"cannot write {path}: {error.strerror}") from None
    return path


@contextmanager
def alone(there: Installation) -> Iterator[None]:
    """One backup, test or restore at a time. Raises BackupError when another is at work."""
    folder = there.folder / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as error:
        raise BackupError(f"cannot write in {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError("another backup or test is at work; wait until it has ended") from None
        yield


def _fill(writer: Writer, there: Installation, now: datetime) -> None:
    login = Login(there.parts.postgres, "backup", read(there.secrets / "backup-database-password"))
    with snapshot(login, GRAFANA) as moment:
        contents = moment.contents()  # first: sequences go on, and a dump that is ahead of them is well
        _dump(writer, login, moment.id)
    for path, name in _files(there):
        _add(writer, path, name)
    manifest = Manifest(
        made=now.astimezone(UTC),
        name=there.config.name,
        version=version("cluster-ai-dashboard"),
        server=moment.server,
        parts=dict(writer.parts),
        contents=contents,
    )
    writer.add(MANIFEST, manifest.model_dump_json().encode())


def _dump(writer: Writer, login: Login, moment: str) -> None:
    """In pieces: how large it becomes is not known before, and it is not to lie on a disk."""
    command = ["pg_dump", "--format=custom", f"--snapshot={moment}", "--no-password"]
    with login.environment(GRAFANA) as environment, tempfile.TemporaryFile("w+") as said:
        try:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=said)
        except FileNotFoundError:
            raise BackupError("pg_dump is not on PATH; install PostgreSQL's client programs") from None
        with process:
            assert process.stdout is not None  # noqa: S101 -- PIPE was asked for
            try:
                number = 0
                while data := process.stdout.read(PIECE):
                    writer.add(f"{DATABASE}{number:06}", data)
                    number += 1
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said.seek(0)
            raise failure("pg_dump", said.read(), process.returncode)


def _files(there: Installation) -> Iterator[tuple[Path, str]]:
    """What is saved besides the database, and its name in the archive."""
    mine, unsaved = there.folder, {there.secrets / name for name in UNSAVED}
    yield there.file, CONFIGURATION
    wanted = sorted(_named(there.config))
    wanted += [path for path in sorted(there.secrets.iterdir()) if path.suffix not in {NEXT, PREVIOUS}]
    for path in dict.fromkeys(wanted):
        inside = path.is_relative_to(mine)
        if path.is_file() and path not in unsaved:
            yield path, f"files/{path.relative_to(mine)}" if inside else f"{OUTSIDE}{path}"
    for name in _KEPT:
        if (mine / "data" / name).is_file():
            yield mine / "data" / name, f"files/data/{name}"


def _named(value: Any) -> Iterator[Path]:
    """The files that a configuration names."""
    if isinstance(value, Path):
        yield Path(os.path.normpath(value))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _named(getattr(value, name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _named(one)


def _add(writer: Writer, path: Path, name: str) -> None:
    try:
        data, mode = path.read_bytes(), path.stat().st_mode & 0o777
    except OSError as error:
        raise BackupError(f"cannot read {path}: {error.strerror}") from None
    writer.add(name, data, mode)


def _sync(folder: Path) -> None:
    """A name is on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
