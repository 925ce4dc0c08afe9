"""A PostgreSQL with something in it, to be backed up, and what the tests of backups have in common."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner, Result

from compose.backup import database
from provisioning.cli import main
from provisioning.secrets.database import query
from provisioning.secrets.installation import Installation
from tests.standins.postgres_server import Postgres

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
SILENCES = b"\x00 as Alertmanager writes them"
SQL = """
CREATE TABLE people
  (id serial PRIMARY KEY, name text UNIQUE, seen timestamptz DEFAULT now(), picture bytea, score float8);
CREATE TABLE sessions (token text PRIMARY KEY, person int REFERENCES people (id), "order" int);
CREATE TABLE writes (id bigserial PRIMARY KEY, pair int, half int);
CREATE INDEX sessions_by_person ON sessions (person);
CREATE VIEW names AS SELECT name FROM people;
CREATE SCHEMA other; CREATE TABLE other."Odd | name" (a text);
INSERT INTO other."Odd | name" VALUES (NULL), (''), ('NULL');
INSERT INTO people (name, picture, score)
  SELECT 'p' || i, decode(md5(i::text), 'hex'), i / 3.0 FROM generate_series(1, 500) i;
INSERT INTO sessions SELECT md5(i::text), i, i FROM generate_series(1, 500) i;
"""


def sql(there: Installation, text: str, name: str = "grafana") -> str:
    return query(database.owner(there), name, text).strip()


def quiet(_line: str) -> None:
    pass


def metrics(there: Installation) -> dict[str, float]:
    lines = (there.folder / "data/textfile/cluster-ai-backup.prom").read_text().splitlines()
    return {line.split("{")[0]: float(line.split()[-1]) for line in lines if not line.startswith("#")}


def databases(postgres: Postgres) -> set[str]:
    return set(query(postgres.login(), "postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate").split())


def command(there: Installation, *words: str) -> Result:
    options = ["--config", str(there.file)]
    if words[0] != "list":
        options += ["--postgres", there.parts.postgres]
    return CliRunner().invoke(main, ["backup", *words, *options])


def restore(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["backup", *words, "--config", str(folder / "cluster-ai.yml"), "--patience", "20"])


@contextmanager
def writers(there: Installation) -> Iterator[list[int]]:
    """Writes pairs of rows, each pair in a transaction, as fast as it can."""
    done = threading.Event()
    written = [0]

    def write() -> None:
        while not done.is_set():
            pair = written[0]
            halves = f"INSERT INTO writes (pair, half) VALUES ({pair}, 1), ({pair}, 2)"  # noqa: S608
            sql(there, "BEGIN;" + f"{halves};" * 20 + "UPDATE people SET score = score + 1; COMMIT")
            written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        done.set()
        thread.join()


def flip(path: Path, at: float) -> None:
    """Turns one bit of a file over."""
    raw = bytearray(path.read_bytes())
    raw[int(len(raw) * at)] ^= 1
    path.write_bytes(raw)
