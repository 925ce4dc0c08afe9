"""The weekly test: what it finds in backups that are not good."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compose.backup import archive, contents, database, work
from compose.backup.manifest import MANIFEST, Manifest, differences
from provisioning.secrets.age_key import new_pair
from provisioning.secrets.database import query
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import IDENTITY, RECIPIENTS
from tests.real.backing_up import NOW, command, databases, flip, metrics, quiet, sql
from tests.standins.postgres_server import Postgres

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def rewritten(there: Installation, path: Path, change) -> None:
    """The same backup with another content, by somebody who can encrypt for us."""
    parts: dict[str, bytes] = {}
    manifest = archive.read(path, there.secrets / IDENTITY, lambda name, file, _mode: parts.update({name: file.read()}))
    parts[MANIFEST] = manifest.model_dump_json().encode()
    change(parts)
    path.unlink()
    with archive.writing(path, there.secrets / RECIPIENTS) as writer:
        for name, data in parts.items():
            writer.add(name, data)


def forge(parts: dict[str, bytes], **tables: int) -> None:
    """Another number of rows in the manifest than in the dump."""
    manifest = Manifest.model_validate_json(parts[MANIFEST])
    found = {
        name: table.model_copy(update={"rows": tables.get(name.split(".")[1], table.rows)})
        for name, table in manifest.contents.tables.items()
    }
    told = manifest.model_copy(update={"contents": manifest.contents.model_copy(update={"tables": found})})
    parts[MANIFEST] = told.model_dump_json().encode()


DAMAGE = {
    "a bit is wrong": (lambda _there, path: flip(path, 0.5), "cannot be read"),
    "the first bit is wrong": (lambda _there, path: flip(path, 0), "cannot be read"),
    "the last bit is wrong": (lambda _there, path: flip(path, 0.9999), "cannot be read"),
    "half is missing": (lambda _there, path: os.truncate(path, path.stat().st_size // 2), "cannot be read"),
    "the last byte is missing": (lambda _there, path: os.truncate(path, path.stat().st_size - 1), "cannot be read"),
    "it is empty": (lambda _there, path: os.truncate(path, 0), "cannot be read"),
    "it is for somebody else": (
        lambda there, path: (there.secrets / IDENTITY).write_text(new_pair().identity),
        "cannot be read: no identity matched",
    ),
    "the secret key is missing": (
        lambda there, path: rewritten(there, path, lambda parts: parts.pop("files/secrets/grafana-secret-key")),
        "files/secrets/grafana-secret-key is missing",
    ),
    "the dump is missing": (
        lambda there, path: rewritten(there, path, lambda parts: parts.pop("database/000000")),
        "database/000000 is missing",
    ),
    "the manifest is missing": (
        lambda there, path: rewritten(there, path, lambda parts: parts.pop(MANIFEST)),
        "its manifest is missing",
    ),
    "the dump is another": (
        lambda there, path: rewritten(there, path, lambda parts: parts.update({"database/000000": b"PGDMP"})),
        "database/000000 is damaged",
    ),
    "a file is another": (
        lambda there, path: rewritten(there, path, lambda parts: parts.update({"files/cluster-ai.yml": b"x"})),
        "files/cluster-ai.yml is damaged",
    ),
    "something was added": (
        lambda there, path: rewritten(there, path, lambda parts: parts.update({"files/../../etc/passwd": b"x"})),
        "files/../../etc/passwd is damaged",
    ),
    "the database was another": (
        lambda there, path: rewritten(there, path, lambda parts: forge(parts, people=501)),
        "does not hold what was saved: table public.people has 500 rows, and had 501",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_test_finds_a_backup_that_is_not_good_and_says_so(
    damage: str, there: Installation, postgres: Postgres
) -> None:
    path = work.backup(there, NOW, quiet)
    work.verify(there, NOW, quiet)
    break_it, said = DAMAGE[damage]
    identity = (there.secrets / IDENTITY).read_text()
    try:
        break_it(there, path)
        done = command(there, "verify")
    finally:
        (there.secrets / IDENTITY).write_text(identity)
    assert done.exit_code == 1
    assert said in done.output, done.output
    assert len(done.output.splitlines()) == 1
    assert metrics(there)["cluster_ai_backup_verification_success"] == 0
    assert metrics(there)["cluster_ai_backup_last_success_timestamp_seconds"] == NOW.timestamp()
    shown = command(there, "list").output
    assert "was not good" in shown
    assert "restored as a test, and good" not in shown
    assert "cluster_ai_scratch" not in databases(postgres)


def test_a_scratch_database_that_was_left_behind_is_no_trouble(there: Installation, postgres: Postgres) -> None:
    work.backup(there, NOW, quiet)
    query(postgres.login(), "postgres", "CREATE DATABASE cluster_ai_scratch OWNER grafana")
    sql(there, "CREATE TABLE people (a int)", "cluster_ai_scratch")
    work.verify(there, NOW, quiet)
    assert "cluster_ai_scratch" not in databases(postgres)


CHANGES = {
    "UPDATE people SET name = 'P7' WHERE id = 7": "table public.people has other contents",
    "UPDATE people SET seen = seen + interval '1 microsecond' WHERE id = 7": "table public.people has other contents",
    "UPDATE people SET picture = picture || '\\x00' WHERE id = 7": "table public.people has other contents",
    "UPDATE people SET score = NULL WHERE id = 7": "table public.people has other contents",
    "UPDATE other.\"Odd | name\" SET a = '' WHERE a IS NULL": "table other.Odd | name has other contents",
    "DELETE FROM sessions WHERE person = 7": "table public.sessions has 499 rows, and had 500",
    "DROP TABLE sessions": "table public.sessions is missing",
    "CREATE TABLE more (a int)": "table public.more was not there",
    "DROP INDEX sessions_by_person": "i public.sessions_by_person is missing",
    "ALTER TABLE people DROP CONSTRAINT people_name_key": "constraint public.people people_name_key is missing",
    "SELECT setval('people_id_seq', 3)": "sequence public.people_id_seq would give out numbers again",
}


def test_the_smallest_difference_is_seen(there: Installation) -> None:
    path = work.backup(there, NOW, quiet)
    manifest = archive.check(path, there.secrets / IDENTITY)
    with database.scratch(there) as name:
        database.fill(there, name, path, there.secrets / IDENTITY, manifest)
        for change, said in CHANGES.items():
            asked = f"BEGIN; {change} \\g /dev/null\n{contents._SETTINGS} {contents._CONTENTS} ROLLBACK;"
            now = contents._understood(query(database.owner(there), name, asked).splitlines())
            assert differences(manifest.contents, now)[:1] == [said], change
