"""What is in a database, said so that two databases can be compared; asked in one snapshot with the dump."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from compose.backup.manifest import BackupError, Contents, Table
from provisioning.secrets.database import PSQL, Login, failure, query

_SETTINGS = (
    "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; "
    "SET extra_float_digits = 1; SET search_path = pg_catalog; SET idle_in_transaction_session_timeout = 0; "
    "SET statement_timeout = 0;\n"
)
_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
# A line of JSON each; the kind comes first.
_CONTENTS = f"""
SELECT format('SELECT json_build_array(''table'', %L, count(*), '
              'coalesce(sum((''x'' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text) FROM ONLY %I.%I t',
              n.nspname || '.' || c.relname, n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {_OURS} ORDER BY 1 \\gexec
SELECT json_build_array('sequence', schemaname || '.' || sequencename, coalesce(last_value, 0)) FROM pg_sequences;
SELECT json_build_array('object', format('%s %s.%s', c.relkind, n.nspname, c.relname))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'i', 'v', 'm') AND {_OURS};
SELECT json_build_array('object', format('constraint %s.%s %s', n.nspname, c.relname, k.conname))
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND {_OURS};
"""  # noqa: S608 -- names are quoted by PostgreSQL's own format()
_END = "-- that is all --"


class Snapshot:
    """One moment of a database, held while its contents are counted and dumped."""

    def __init__(self, psql: subprocess.Popen[str], said: IO[str]) -> None:
        self._psql = psql
        self._said = said
        self._ask(_SETTINGS + "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n")
        self.server, self.id = self._ask("SHOW server_version; SELECT pg_export_snapshot();\n")
        """PostgreSQL's version, and the name by which pg_dump takes the same moment."""

    def contents(self) -> Contents:
        """What is in it. Raises DatabaseError."""
        return _understood(self._ask(_CONTENTS))

    def _ask(self, sql: str) -> list[str]:
        assert self._psql.stdin is not None and self._psql.stdout is not None  # noqa: PT018, S101 -- asked for
        try:
            self._psql.stdin.write(f"{sql}\\echo '{_END}'\n")
            self._psql.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        lines: list[str] = []
        for line in self._psql.stdout:
            if line.rstrip("\n") == _END:
                return lines
            lines.append(line.rstrip("\n"))
        raise self._failure()

    def _failure(self) -> Exception:
        status = self._psql.wait()
        self._said.seek(0)
        return failure("psql", self._said.read(), status)


@contextmanager
def snapshot(login: Login, database: str) -> Iterator[Snapshot]:
    """The moment at which this begins. Raises DatabaseError."""
    with login.environment(database) as environment, tempfile.TemporaryFile("w+") as said:
        try:
            psql = subprocess.Popen(
                list(PSQL), env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        except FileNotFoundError:
            raise BackupError("psql is not on PATH; install PostgreSQL's client programs") from None
        with psql:
            try:
                yield Snapshot(psql, said)
            finally:
                psql.kill()


def contents(login: Login, database: str) -> Contents:
    """What is in a database now. Raises DatabaseError."""
    return _understood(query(login, database, _SETTINGS + _CONTENTS).splitlines())


def _understood(lines: list[str]) -> Contents:
    rows = [json.loads(line) for line in lines]
    return Contents(
        tables={name: Table(rows=count, checksum=total) for name, count, total in _of("table", rows)},
        sequences=dict(_of("sequence", rows)),
        objects=sorted(name for [name] in _of("object", rows)),
    )


def _of(kind: str, rows: list[list[Any]]) -> list[list[Any]]:
    return [row[1:] for row in rows if row[0] == kind]
