"""What is done: a backup with all that belongs to it, and the test of the newest one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from compose.backup import archive, database, state
from compose.backup.making import FOLDER, alone, make
from compose.backup.manifest import BackupError, NotTestedError, backups
from compose.backup.retention import superfluous
from provisioning.config.secrets import SecretError
from provisioning.secrets.database import DatabaseError
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import IDENTITY

Say = Callable[[str], None]
_OFF_SITE = 3600.0  # s that the operator's program may take


def backup(there: Installation, now: datetime, say: Say) -> Path:
    """Makes a backup, removes those that are superfluous, and hands it to the operator's program.

    Raises BackupError when one of these fails. A backup that could not be carried elsewhere is kept, and does not count
    as one that ended well.
    """
    with alone(there):
        known = state.load(there)
        try:
            path = make(there, now)
            say(f"made {path}")
            _tidy(there, now, known.proven, say)
            _carry(there, path)
        except BackupError:
            with suppress(BackupError):  # on a full disk the reason is what counts, and the old file grows old
                state.save(there, known.tried(now))  # so that a first failure is told, too
            raise
        done = {"succeeded": now.timestamp(), "size": path.stat().st_size, "began": 0.0}
        state.save(there, known.model_copy(update=done))
        return path


def verify(there: Installation, now: datetime, say: Say) -> Path:
    """Restores the newest backup into a scratch database and compares.

    Raises BackupError when it is not good, and NotTestedError, of which nothing is kept, when that cannot be seen here.
    """
    with alone(there):
        found = backups(there.folder / FOLDER)
        if not found:
            raise BackupError(f"there is no backup in {there.folder / FOLDER}; `cluster-ai backup now` makes one")
        newest = list(found)[-1]
        known = state.load(there).tried(now)
        proven = known.proven if known.proven != newest.name else None
        told = known.model_copy(update={"verified": now.timestamp(), "well": False, "proven": proven})
        try:
            rows = _restored(there, newest)
        except (
            NotTestedError,
            DatabaseError,
            SecretError,
        ) as error:
            # Nothing is known of the backup, so nothing is told of it.
            raise NotTestedError(f"{newest.name} could not be tested: {error}") from None
        except BackupError:
            with suppress(BackupError):
                state.save(there, told)
            raise
        state.save(there, told.model_copy(update={"well": True, "proven": newest.name}))
        say(f"{newest.name} is good: {rows}")
        return newest


def _restored(there: Installation, file: Path) -> str:
    identity = there.secrets / IDENTITY
    manifest = archive.check(file, identity)
    with database.scratch(there) as name:
        database.fill(there, name, file, identity, manifest)
    tables = manifest.contents.tables
    return f"{len(tables)} tables with {sum(table.rows for table in tables.values())} rows came back as they were"


def _tidy(there: Installation, now: datetime, proven: str | None, say: Say) -> None:
    kept = there.production.backup
    found = backups(there.folder / FOLDER)
    for path in superfluous(found, now, days=kept.keep_days, weeks=kept.keep_weeks, proven=proven):
        try:
            path.unlink()
            say(f"removed {path.name}")
        except OSError as error:
            say(f"{path} cannot be removed: {error.strerror}")


def _carry(there: Installation, path: Path) -> None:
    program = there.production.backup.off_site
    if program is None:
        return
    try:
        done = subprocess.run(
            [str(program), str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_OFF_SITE,
            check=False,
        )
    except OSError as error:
        why = str(error.strerror)
    except subprocess.TimeoutExpired:
        why = f"it took longer than {_OFF_SITE:g} s"
    else:
        if done.returncode == 0:
            return
        last = [line.strip() for line in done.stderr.splitlines() if line.strip()][-1:]
        why = f"it ended with status {done.returncode}{f': {last[0]}' if last else ''}"
    raise BackupError(f"{path.name} is kept here, and was not carried elsewhere by {program}: {why}")
