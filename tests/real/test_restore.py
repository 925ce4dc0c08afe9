"""An installation comes back from its backup."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from compose.backup import archive, database, work
from compose.backup.contents import contents
from provisioning.secrets.database import DatabaseError, query
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import IDENTITY, OPERATOR_KEY
from tests.compose.running import until
from tests.real.backing_up import NOW, SILENCES, databases, flip, quiet, restore, sql
from tests.standins import postgres_server
from tests.standins.postgres_server import Postgres

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def test_back_on_an_empty_machine(there: Installation) -> None:
    """Only the backup and the operator's key are left. First the files; PostgreSQL starts with them; then the rest."""
    backup = work.backup(there, NOW, quiet)
    saved = archive.check(backup, there.secrets / IDENTITY)
    key = there.secrets / OPERATOR_KEY
    with postgres_server.folder() as folder:
        words = ["restore", str(backup), "--identity", str(key)]
        said = restore(folder, *words, "--only", "files")
        assert said.exit_code == 0, said.output
        for path in there.secrets.iterdir():
            if path.name != OPERATOR_KEY:
                other = folder / "secrets" / path.name
                assert other.read_bytes() == path.read_bytes()
                assert other.stat().st_mode & 0o777 == 0o600
        assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
        assert (folder / "data/alertmanager/silences").read_bytes() == SILENCES
        assert not (folder / "secrets" / OPERATOR_KEY).exists()
        with postgres_server.of(folder) as server:
            done = restore(folder, *words, "--only", "database", "--postgres", server.there.parts.postgres)
            assert done.exit_code == 0, done.output
            assert contents(database.owner(server.there), "grafana") == contents(database.owner(there), "grafana")
            assert contents(database.owner(server.there), "grafana").tables == saved.contents.tables
            assert databases(server) == {"postgres", "grafana"}
            # It is the installation that it was: it makes backups, and no role can do more than before.
            work.backup(server.there, NOW + timedelta(days=1), quiet)
            work.verify(server.there, NOW + timedelta(days=1), quiet)
            roles = server.login("backup", "backup-database-password")
            with pytest.raises(DatabaseError, match="permission denied"):
                query(roles, "grafana", "SET default_transaction_read_only = off; DELETE FROM people")
            again = restore(folder, *words, "--postgres", server.there.parts.postgres)
            assert again.exit_code == 1
            assert "has a database; see --overwrite" in again.output
            sql(server.there, "DELETE FROM sessions")
            (folder / "cluster-ai.yml").write_text("changed: true\n")
            refused = restore(folder, *words, "--only", "files")
            assert (refused.exit_code, "1 files are here with other contents" in refused.output) == (1, True)
            assert (folder / "cluster-ai.yml").read_text() == "changed: true\n"
            over = restore(folder, *words, "--overwrite", "--postgres", server.there.parts.postgres)
            assert over.exit_code == 0, over.output
            assert f"overwrites {folder}/cluster-ai.yml" in over.output
            assert sql(server.there, "SELECT count(*) FROM sessions") == "500"
            assert databases(server) == {"postgres", "grafana", "grafana_replaced"}


def test_a_damaged_backup_changes_nothing(there: Installation) -> None:
    path = work.backup(there, NOW, quiet)
    sql(there, "INSERT INTO people (name) VALUES ('since')")
    flip(path, 0.7)
    for only in ("files", "database"):
        words = ["restore", str(path), "--only", only, "--overwrite"]
        done = restore(there.folder, *words, "--postgres", there.parts.postgres)
        assert (done.exit_code, "cannot be read" in done.output) == (1, True)
    assert sql(there, "SELECT count(*) FROM people WHERE name = 'since'") == "1"
    sql(there, "DELETE FROM people WHERE name = 'since'")
    assert not list(there.folder.glob(".restoring-*"))


def test_a_restore_while_grafana_works_replaces_all_at_one_go(there: Installation, postgres: Postgres) -> None:
    path = work.backup(there, NOW, quiet)
    manifest = archive.check(path, there.secrets / IDENTITY)
    sql(there, "INSERT INTO people (name) VALUES ('since')")
    asleep = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    with database.owner(there).environment("grafana") as environment:
        command = ["psql", "-c", "SELECT pg_sleep(60)"]
        worker = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        until(lambda: query(postgres.login(), "postgres", asleep).strip(), "somebody to work")
        assert database.replace(there, path, there.secrets / IDENTITY, manifest)
        assert "terminating connection" in worker.communicate(timeout=20)[1]
    since = "SELECT count(*) FROM people WHERE name = 'since'"
    assert sql(there, since) == "0"
    assert query(postgres.login(), "grafana_replaced", since).strip() == "1"
    query(postgres.login(), "postgres", "DROP DATABASE grafana_replaced")


def test_a_dry_run_says_all_and_does_nothing(there: Installation) -> None:
    path = work.backup(there, NOW, quiet)
    key = (there.secrets / "sms-bridge-token").read_text()
    (there.secrets / "sms-bridge-token").write_text("another")
    done = restore(there.folder, "restore", str(path), "--dry-run", "--overwrite", "--postgres", there.parts.postgres)
    assert (done.exit_code, f"overwrites {there.secrets}/sms-bridge-token" in done.output) == (0, True)
    assert "database: 4 tables with" in done.output
    assert (there.secrets / "sms-bridge-token").read_text() == "another"
    (there.secrets / "sms-bridge-token").write_text(key)


def test_files_of_elsewhere_do_not_leave_the_folder(there: Installation, tmp_path: Path) -> None:
    """A certificate in /etc, say: a backup writes nothing there, and says where it belongs."""
    authority = tmp_path / "authority.pem"
    authority.write_text("-- the authority --")
    certificate = there.production.certificate.model_copy(update={"cert_file": authority})
    config = there.config.model_copy(
        update={"production": there.production.model_copy(update={"certificate": certificate})}
    )
    path = work.backup(replace(there, config=config), NOW, quiet)
    authority.write_text("-- a newer one --")
    with postgres_server.folder() as folder, postgres_server.with_programs():
        words = ["restore", str(path), "--identity", str(there.secrets / OPERATOR_KEY), "--only", "files"]
        done = restore(folder, *words)
        assert f"{folder}/outside{authority} belongs at {authority}" in done.output
        assert (folder / f"outside{authority}").read_text() == "-- the authority --"
    assert authority.read_text() == "-- a newer one --"
