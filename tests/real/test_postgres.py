"""PostgreSQL with our roles: what each may do, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provisioning.secrets.database import DatabaseError, Login, RefusedError, query
from tests.standins import postgres_server

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def postgres() -> Iterator[postgres_server.Postgres]:
    with postgres_server.running() as server:
        query(server.login("grafana", "grafana-database-password"), "grafana", "CREATE TABLE people (name text)")
        query(server.login("grafana", "grafana-database-password"), "grafana", "INSERT INTO people VALUES ('ana')")
        query(server.login(), "postgres", "CREATE DATABASE chats; CREATE TABLE private AS SELECT 1 AS one")
        yield server


def logins(server: postgres_server.Postgres) -> dict[str, Login]:
    return {
        "grafana": server.login("grafana", "grafana-database-password"),
        "monitoring": server.login("monitoring", "postgres-exporter-password"),
        "backup": server.login("backup", "backup-database-password"),
    }


@pytest.mark.parametrize(
    ("role", "database", "sql", "answer"),
    [
        ("grafana", "grafana", "SELECT name FROM people", "ana"),
        ("grafana", "grafana", "CREATE TABLE more (a int); DROP TABLE more", ""),
        ("monitoring", "postgres", "SELECT count(*) > 0 FROM pg_stat_activity WHERE query IS NOT NULL", "t"),
        ("monitoring", "postgres", "SELECT pg_database_size('grafana') > 0", "t"),
        ("monitoring", "postgres", "SELECT count(*) > 0 FROM pg_ls_waldir()", "t"),
        ("backup", "grafana", "SELECT name FROM people", "ana"),
    ],
)
def test_each_role_can_do_its_work(role: str, database: str, sql: str, answer: str, postgres) -> None:
    assert query(logins(postgres)[role], database, sql).strip() == answer


@pytest.mark.parametrize(
    ("role", "database", "sql", "said"),
    [
        ("grafana", "postgres", "SELECT 1", "no pg_hba.conf entry"),
        ("grafana", "chats", "SELECT 1", "no pg_hba.conf entry"),
        ("grafana", "template1", "SELECT 1", "no pg_hba.conf entry"),
        ("grafana", "grafana", "CREATE ROLE me SUPERUSER", "permission denied|must be superuser"),
        ("grafana", "grafana", "CREATE DATABASE mine", "permission denied"),
        ("grafana", "grafana", "SELECT rolpassword FROM pg_authid", "permission denied"),
        ("grafana", "grafana", "COPY people TO PROGRAM 'cat'", "permission denied|must be superuser"),
        ("grafana", "grafana", "SELECT pg_read_file('/etc/passwd')", "permission denied"),
        ("monitoring", "grafana", "SELECT 1", "no pg_hba.conf entry"),
        ("monitoring", "postgres", "SELECT one FROM public.private", "permission denied"),
        ("monitoring", "postgres", "CREATE TABLE public.mine (a int)", "permission denied"),
        ("backup", "postgres", "SELECT 1", "no pg_hba.conf entry"),
        ("backup", "chats", "SELECT 1", "no pg_hba.conf entry"),
        ("backup", "grafana", "INSERT INTO people VALUES ('eve')", "read-only transaction"),
        (
            "backup",
            "grafana",
            "SET default_transaction_read_only = off; INSERT INTO people VALUES ('eve')",
            "permission denied for table people",
        ),
        (
            "backup",
            "grafana",
            "SET default_transaction_read_only = off; CREATE TABLE mine (a int)",
            "permission denied for schema public",
        ),
    ],
)
def test_no_role_can_do_more(role: str, database: str, sql: str, said: str, postgres) -> None:
    with pytest.raises(DatabaseError, match=said):
        query(logins(postgres)[role], database, sql)


def test_nobody_gets_in_without_the_password(postgres) -> None:
    address = postgres.there.parts.postgres
    for role in ("postgres", "grafana", "backup", "monitoring"):
        for password in ("", "postgres", role):
            with pytest.raises(RefusedError):
                query(Login(address, role, password), "grafana" if role != "monitoring" else "postgres", "SELECT 1")


def test_only_scram_is_kept_and_no_password_is_in_the_log(postgres) -> None:
    kept = query(postgres.login(), "postgres", "SELECT rolpassword FROM pg_authid WHERE rolcanlogin").split()
    assert len(kept) == 4
    assert all(one.startswith("SCRAM-SHA-256$") for one in kept)
    for path in postgres.there.secrets.iterdir():
        assert path.read_text().splitlines()[0] not in postgres.log, path.name


def test_the_roles_can_be_made_again_and_take_the_passwords_of_the_files(postgres) -> None:
    query(postgres.login(), "postgres", "ALTER ROLE grafana PASSWORD 'lost' CREATEDB")
    with pytest.raises(RefusedError):
        query(logins(postgres)["grafana"], "grafana", "SELECT 1")
    file = postgres.there.folder / "rendered/postgres/roles.sql"
    query(postgres.login(), "postgres", f"\\i {file}")
    assert query(logins(postgres)["grafana"], "grafana", "SELECT name FROM people").strip() == "ana"
    with pytest.raises(DatabaseError, match="permission denied"):
        query(logins(postgres)["grafana"], "grafana", "CREATE DATABASE mine")
