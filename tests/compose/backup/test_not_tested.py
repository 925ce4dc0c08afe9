"""Where a program or the key is missing, nothing is known of a backup, and nothing is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from compose.backup import archive, database, state, work
from compose.backup.making import FOLDER
from compose.backup.manifest import BackupError, Contents, Manifest, NotTestedError, file_name
from compose.backup.state import State
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import IDENTITY
from tests.provisioning.secrets.installed import installed

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
NEWEST = file_name(NOW)
GOOD = State(succeeded=1.0, size=2, verified=3.0, well=True, proven=NEWEST)
MANIFEST = Manifest(
    made=NOW,
    name="lab",
    version="0",
    server="17",
    parts={},
    contents=Contents(tables={}, sequences={}, objects=[]),
)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """One with a backup that was good, on a host with none of the programs."""
    one = installed(tmp_path)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / NEWEST).write_bytes(b"age-encryption.org/v1")
    state.save(one, GOOD)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return one


def program(there: Installation, name: str, text: str) -> None:
    path = there.folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if age had opened it."""
    monkeypatch.setattr(archive, "check", lambda *_: MANIFEST)
    monkeypatch.setattr(database, "dump", lambda *_: None)


def is_not_tested(there: Installation, said: str) -> None:
    metrics = (there.folder / "data/textfile/cluster-ai-backup.prom").read_text()
    with pytest.raises(NotTestedError, match=rf"^{NEWEST} could not be tested: .*{said}"):
        work.verify(there, NOW, lambda _line: None)
    assert state.load(there) == GOOD
    assert (there.folder / "data/textfile/cluster-ai-backup.prom").read_text() == metrics


def test_without_age(there: Installation) -> None:
    is_not_tested(there, "age is not on PATH")


def test_without_the_key(there: Installation) -> None:
    program(there, "age", "echo 'age: error: reading the key: no such file' >&2; exit 1")
    (there.secrets / IDENTITY).unlink()
    is_not_tested(there, f"the key {there.secrets / IDENTITY} cannot be read")


def test_without_psql(there: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    opens(monkeypatch)
    is_not_tested(there, "psql is not on PATH")


def test_without_pg_restore(there: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    opens(monkeypatch)
    program(there, "psql", "exit 0")
    is_not_tested(there, "pg_restore is not on PATH")


def test_with_a_pg_restore_that_is_too_old(there: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    opens(monkeypatch)
    program(there, "psql", "exit 0")
    program(there, "pg_restore", "echo 'pg_restore: error: unsupported version (1.16) in file header' >&2; exit 1")
    is_not_tested(there, "older than the server")


def test_one_that_age_cannot_open_is_told_as_not_good(there: Installation) -> None:
    program(there, "age", "echo 'age: error: failed to read header' >&2; exit 1")
    with pytest.raises(BackupError, match="cannot be read: failed to read header"):
        work.verify(there, NOW, lambda _line: None)
    assert not state.load(there).well
