"""Puts a backup's dump into a database, and compares what arrived with what was saved."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compose.backup.archive import StoppedError, dump
from compose.backup.contents import contents
from compose.backup.manifest import BackupError, Manifest, NotTestedError, differences
from provisioning.render.postgres import DATABASE, RESTORED, SCRATCH
from provisioning.secrets.database import DatabaseError, Login, failure, query
from provisioning.secrets.files import read
from provisioning.secrets.installation import Installation

REPLACED = "grafana_replaced"
"""What a database is called that a restore has taken the place of, until the next one."""
_OLD = "unsupported version"
"""What pg_restore says of a dump by a newer one."""
_SHOWN = 3  # differences that are named


def superuser(there: Installation) -> Login:
    """Makes and removes databases. Raises SecretError."""
    return Login(there.parts.postgres, "postgres", read(there.secrets / "postgres-password"))


def owner(there: Installation) -> Login:
    """Whose the database is, and all that is in it. Raises SecretError."""
    return Login(there.parts.postgres, "grafana", read(there.secrets / "grafana-database-password"))


@contextmanager
def scratch(there: Installation) -> Iterator[str]:
    """An empty database that is gone afterwards; one that was left by a test that was killed goes first."""
    _empty(there, SCRATCH)
    try:
        yield SCRATCH
    finally:
        query(superuser(there), "postgres", _drop(SCRATCH))


def fill(there: Installation, database: str, file: Path, identity: Path, manifest: Manifest) -> None:
    """Restores the dump into an empty database of Grafana's role and compares it with what was saved.

    Nothing in a dump is done with more rights than that role has. Raises BackupError.
    """
    login = owner(there)
    command = ["pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password", "--dbname", database]
    with login.environment(database) as environment, tempfile.TemporaryFile("w+") as said:
        try:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=said)
        except FileNotFoundError:
            raise NotTestedError("pg_restore is not on PATH; install PostgreSQL's client programs") from None
        with process:
            assert process.stdin is not None  # noqa: S101 -- PIPE was asked for
            try:
                dump(file, identity, process.stdin)
                process.stdin.close()
            except (StoppedError, BrokenPipeError):
                _abandon(process)
            except BaseException:
                process.kill()
                _abandon(process)
                raise
        if process.returncode:
            said.seek(0)
            reason = failure("pg_restore", said.read(), process.returncode)
            if _OLD in str(reason):
                raise NotTestedError(f"{reason}: PATH has one that is older than the server")
            raise BackupError(f"{file.name} cannot be restored: {reason}")
    found = differences(manifest.contents, contents(login, database))
    if found:
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise BackupError(f"{file.name} does not hold what was saved: {'; '.join(found[:_SHOWN])}{more}")


def is_empty(there: Installation) -> bool:
    """Whether there is nothing in Grafana's database, or no such database."""
    if not _exists(there, DATABASE):
        return True
    # A restore that was killed may have closed it.
    query(superuser(there), "postgres", f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")
    return not contents(owner(there), DATABASE).tables


def replace(there: Installation, file: Path, identity: Path, manifest: Manifest) -> bool:
    """Puts the restored database in the place of Grafana's at one go; says whether there was one with something in it.

    That one stays as `grafana_replaced`. Until the restored one was compared, nothing of the old one is touched.
    """
    empty = is_empty(there)
    _empty(there, RESTORED)
    fill(there, RESTORED, file, identity, manifest)
    first, admin = "", superuser(there)
    if _exists(there, DATABASE):
        query(admin, "postgres", _drop(REPLACED))
        query(admin, "postgres", f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false")
        first = (
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{DATABASE}';"  # noqa: S608
            f"ALTER DATABASE {DATABASE} RENAME TO {REPLACED};"
        )
    swap = f"BEGIN; {first} ALTER DATABASE {RESTORED} RENAME TO {DATABASE}; COMMIT;"
    try:
        query(admin, "postgres", swap)
    except DatabaseError:
        if first:
            query(admin, "postgres", f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")
        raise
    if empty:
        query(admin, "postgres", _drop(REPLACED))
    elif first:
        query(admin, "postgres", f"ALTER DATABASE {REPLACED} ALLOW_CONNECTIONS true")
    return not empty


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """Takes back the pipe's last bytes, which nobody wants any more."""
    assert process.stdin is not None  # noqa: S101 -- PIPE was asked for
    try:
        process.stdin.close()
    except BrokenPipeError:
        process.wait()


def _empty(there: Installation, name: str) -> None:
    """A new database with the rights that Grafana's has."""
    admin = superuser(there)
    query(admin, "postgres", _drop(name))
    query(admin, "postgres", f"CREATE DATABASE {name} OWNER grafana TEMPLATE template0 ENCODING 'UTF8'")
    query(admin, "postgres", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO backup")
    query(admin, name, "REVOKE ALL ON SCHEMA public FROM PUBLIC")


def _exists(there: Installation, name: str) -> bool:
    found = query(superuser(there), "postgres", "SELECT 1 FROM pg_database WHERE datname = :'name'", {"name": name})
    return bool(found.strip())


def _drop(name: str) -> str:
    return f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
