"""Backups of a real PostgreSQL: made while it is written to, and what happens when that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compose.backup import archive, database, making, work
from compose.backup.contents import contents
from compose.backup.making import alone
from compose.backup.manifest import BackupError, backups
from compose.backup.state import load
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import IDENTITY, OPERATOR_KEY
from tests.compose.running import until
from tests.real.backing_up import NOW, SILENCES, databases, metrics, quiet, sql, writers
from tests.standins.postgres_server import Postgres

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def test_a_backup_at_a_moment_of_writes_comes_back_as_it_was(there: Installation, postgres: Postgres) -> None:
    with writers(there) as written:
        while written[0] < 3:
            pass
        path = work.backup(there, NOW, quiet)
        at_backup = written[0]
        while written[0] < at_backup + 3:
            pass
    manifest = archive.check(path, there.secrets / IDENTITY)
    now = contents(database.owner(there), "grafana")
    assert manifest.contents.tables["public.writes"].rows < now.tables["public.writes"].rows
    with database.scratch(there) as name:
        database.fill(there, name, path, there.secrets / IDENTITY, manifest)
        assert contents(database.owner(there), name).tables == manifest.contents.tables
        assert (
            sql(there, "SELECT count(*) FROM (SELECT FROM writes GROUP BY pair HAVING count(*) % 40 <> 0) x", name)
            == "0"
        )
        assert int(sql(there, "SELECT count(*) FROM people", name)) == 500
        assert sql(there, "SELECT name FROM names ORDER BY 1 LIMIT 1", name) == "p1"
    assert "cluster_ai_scratch" not in databases(postgres)
    work.verify(there, NOW + timedelta(hours=1), quiet)
    assert metrics(there) == {
        "cluster_ai_backup_last_success_timestamp_seconds": NOW.timestamp(),
        "cluster_ai_backup_size_bytes": path.stat().st_size,
        "cluster_ai_backup_verified_timestamp_seconds": (NOW + timedelta(hours=1)).timestamp(),
        "cluster_ai_backup_verification_success": 1,
    }


def test_numbers_given_out_while_it_is_made_are_no_difference(
    there: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence is of no snapshot: it goes on under every one."""
    real = making._dump

    def dump(*arguments: Any) -> None:
        sql(there, "SELECT nextval('writes_id_seq')")
        real(*arguments)
        sql(there, "SELECT nextval('writes_id_seq')")

    monkeypatch.setattr(making, "_dump", dump)
    work.backup(there, NOW, quiet)
    work.verify(there, NOW, quiet)


def test_nothing_of_it_is_plain_and_both_keys_open_it(there: Installation) -> None:
    path = work.backup(there, NOW, quiet)
    assert path.stat().st_mode & 0o077 == 0
    raw = path.read_bytes()
    assert raw.startswith(b"age-encryption.org/v1")
    assert b"cluster-ai.yml" not in raw
    taken: dict[str, bytes] = {}
    operators = archive.read(
        path, there.secrets / OPERATOR_KEY, lambda name, file, _mode: taken.update({name: file.read()})
    )
    assert operators == archive.check(path, there.secrets / IDENTITY)
    assert taken["files/secrets/grafana-secret-key"] == (there.secrets / "grafana-secret-key").read_bytes()
    assert taken["files/data/alertmanager/silences"] == SILENCES
    assert taken["files/cluster-ai.yml"] == there.file.read_bytes()
    assert f"files/secrets/{OPERATOR_KEY}" not in taken
    assert {f"files/secrets/{name.name}" for name in there.secrets.iterdir()} - set(taken) == {
        f"files/secrets/{OPERATOR_KEY}"
    }


@pytest.mark.parametrize("broken", ["pg_dump", "pg_dump at its end", "PostgreSQL", "disk", "age"])
def test_what_fails_leaves_the_old_backups_and_says_why(
    broken: str, there: Installation, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = work.backup(there, NOW, quiet)
    before = old.read_bytes(), metrics(there)
    later = NOW + timedelta(days=1)
    if broken.startswith("pg_dump"):
        real = shutil.which("pg_dump")
        text = f'{real} "$@" | head -c 2000; ' if broken.endswith("end") else ""
        (tmp_path / "pg_dump").write_text(f"#!/bin/sh\n{text}echo 'pg_dump: error: the disk is on fire' >&2; exit 1\n")
        (tmp_path / "pg_dump").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        said = "pg_dump: error: the disk is on fire"
    elif broken == "PostgreSQL":
        postgres.stop()
        said = "Connection refused"
    elif broken == "disk":
        (tmp_path / "age").write_text(
            "#!/bin/sh\nhead -c 3000\necho 'age: error: no space left on device' >&2\nexit 1\n"
        )
        (tmp_path / "age").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        said = "no space left on device"
    else:
        monkeypatch.setattr(archive.subprocess, "Popen", _without("age"))
        said = "age is not on PATH"
    try:
        with pytest.raises(BackupError, match=said):
            work.backup(there, later, quiet)
    finally:
        if broken == "PostgreSQL":
            postgres.start()
    assert set(backups(there.folder / "backups")) == {old}
    assert (old.read_bytes(), metrics(there)) == before
    assert not [path for path in (there.folder / "backups").iterdir() if path.name.endswith(".part")]


def _without(program: str):
    real = subprocess.Popen

    def popen(command, *args, **options):
        if command[0] == program:
            raise FileNotFoundError(2, "No such file or directory", program)
        return real(command, *args, **options)

    return popen


def test_a_backup_that_is_killed_leaves_nothing_under_a_backups_name(there: Installation, tmp_path: Path) -> None:
    old = work.backup(there, NOW, quiet)
    (tmp_path / "age").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    (tmp_path / "age").chmod(0o755)
    words = ["backup", "now", "--config", str(there.file), "--postgres", there.parts.postgres]
    slow = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    killed = subprocess.Popen([sys.executable, "-m", "provisioning.cli", *words], env=slow)
    until((tmp_path / "pid").exists, "the backup to begin")
    killed.kill()
    killed.wait()
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert len(list((there.folder / "backups").glob(".*.part"))) == 1
    new = work.backup(there, NOW + timedelta(days=1), quiet)
    assert set(backups(there.folder / "backups")) == {old, new}
    assert not list((there.folder / "backups").glob(".*.part"))


def test_two_at_once(there: Installation) -> None:
    with alone(there), pytest.raises(BackupError, match="another backup or test is at work"):
        work.backup(there, NOW, quiet)


def test_a_full_disk(there: Installation) -> None:
    """A file that may not grow, as on a full disk; with root a small disk of its own would do the same."""
    old = work.backup(there, NOW, quiet)
    limited = f"ulimit -f {old.stat().st_size // 1024 // 2}; exec {sys.executable} -m provisioning.cli"
    words = f"backup now --config {there.file} --postgres {there.parts.postgres}"
    done = subprocess.run(["bash", "-c", f"{limited} {words}"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "file too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in (there.folder / "backups").glob("*.age")] == [old.name]


def test_what_the_operators_program_does(there: Installation, tmp_path: Path) -> None:
    program = tmp_path / "carry"
    program.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/elsewhere.age\n')
    program.chmod(0o755)
    settings = there.production.backup.model_copy(update={"off_site": program})
    there = replace(there, production=there.production.model_copy(update={"backup": settings}))
    path = work.backup(there, NOW, quiet)
    assert (tmp_path / "elsewhere.age").read_bytes() == path.read_bytes()
    program.write_text("#!/bin/sh\necho 'first' >&2\necho 'no route to host' >&2\nexit 3\n")
    later = NOW + timedelta(days=1)
    with pytest.raises(BackupError, match=r"is kept here, and was not carried elsewhere .* status 3: no route to host"):
        work.backup(there, later, quiet)
    assert len(backups(there.folder / "backups")) == 2
    assert metrics(there)["cluster_ai_backup_last_success_timestamp_seconds"] == NOW.timestamp()


def test_what_is_superfluous_goes_once_there_is_a_new_one(there: Installation) -> None:
    made = [work.backup(there, NOW - timedelta(days=days), quiet) for days in (30, 29, 8, 7, 2)]
    new = work.backup(there, NOW, quiet)
    kept = set(backups(there.folder / "backups"))
    assert kept == {made[2], made[4], new}


def test_the_service_makes_the_first_backup_tests_it_and_ends_when_told(there: Installation) -> None:
    words = ["backup", "run", "--config", str(there.file), "--postgres", there.parts.postgres]
    service = subprocess.Popen([sys.executable, "-m", "provisioning.cli", *words], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: load(there).well, "the first backup to be tested", seconds=60)
    finally:
        service.terminate()
    said = service.communicate(timeout=20)[1]
    assert service.returncode == 0, said
    [made] = backups(there.folder / "backups")
    assert load(there).proven == made.name
    assert f"INFO made {made}" in said
    assert f"INFO {made.name} is good: 4 tables with " in said
