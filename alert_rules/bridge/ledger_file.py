"""The ledger in a file of this machine: SQLite, every change on disk before it counts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from alert_rules.bridge.ledger import HOUR, KEEP, Claim, Entry, LedgerError, State

log = logging.getLogger(__name__)
T = TypeVar("T")
MOST = 20_000
"""Messages kept at most; the oldest settled ones go first."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, person TEXT, body TEXT, made REAL, owner TEXT, until REAL, state TEXT, sid TEXT, delivery TEXT
);
CREATE INDEX IF NOT EXISTS messages_person ON messages (person, made);
CREATE INDEX IF NOT EXISTS messages_state ON messages (state);
CREATE INDEX IF NOT EXISTS messages_sid ON messages (sid);
CREATE TABLE IF NOT EXISTS told (key TEXT PRIMARY KEY, id TEXT, at REAL);
CREATE INDEX IF NOT EXISTS told_id ON told (id);
"""
_COLUMNS = "id, person, body, made, owner, until, state, sid, delivery"


class FileLedger:
    """Several processes of one machine may share the file."""

    def __init__(self, file: Path | None) -> None:
        """None keeps it in memory alone. The file is opened when it is first needed, and again after a failure.

        A file that is no ledger is put aside and a new one begun: not being told at all would be worse.
        """
        self._file = file
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._opened: sqlite3.Connection | None = None
        self._pruned = 0.0

    async def claim(self, entry: Entry, keys: Sequence[str], window: float) -> Claim:
        """See Ledger."""
        return await self._run(lambda: self._claim(entry, keys, window))

    async def recent(self, person: str, since: float) -> int:
        """See Ledger."""
        query = "SELECT count(*) FROM messages WHERE person = ? AND made > ? AND state IN (?, ?)"
        found = await self._all(query, person, since, State.OPEN, State.SENT)
        return int(str(found[0][0]))

    async def settle(self, id: str, state: State, sid: str = "") -> None:
        """See Ledger."""
        await self._all("UPDATE messages SET state = ?, sid = ? WHERE id = ?", state, sid, id)

    async def release(self, id: str) -> None:
        """See Ledger."""

        def both() -> None:
            self._database.execute("DELETE FROM told WHERE id = ?", (id,))
            self._database.execute("DELETE FROM messages WHERE id = ?", (id,))

        await self._run(both)

    async def hold(self, id: str, owner: str, now: float, until: float) -> Entry | None:
        """See Ledger."""
        query = (
            "UPDATE messages SET owner = ?, until = ? WHERE id = ? AND state = ? AND (owner = ? OR until <= ?) "  # noqa: S608 -- our own words
            f"RETURNING {_COLUMNS}"
        )
        return _first(await self._all(query, owner, until, id, State.OPEN, owner, now))

    async def orphans(self, now: float) -> list[str]:
        """See Ledger."""
        found = await self._all("SELECT id FROM messages WHERE state = ? AND until <= ?", State.OPEN, now)
        return [str(row[0]) for row in found]

    async def abandon(self, owner: str) -> None:
        """See Ledger."""
        await self._all("UPDATE messages SET until = 0 WHERE owner = ? AND state = ?", owner, State.OPEN)

    async def get(self, id: str) -> Entry | None:
        """See Ledger."""
        return _first(await self._all(f"SELECT {_COLUMNS} FROM messages WHERE id = ?", id))  # noqa: S608

    async def by_sid(self, sid: str) -> Entry | None:
        """See Ledger."""
        return _first(await self._all(f"SELECT {_COLUMNS} FROM messages WHERE sid = ?", sid))  # noqa: S608

    async def delivered(self, id: str, delivery: str) -> bool:
        """See Ledger."""
        query = "UPDATE messages SET delivery = ? WHERE id = ? AND delivery = '' RETURNING id"
        return bool(await self._all(query, delivery, id))

    async def undecided(self, since: float) -> list[Entry]:
        """See Ledger."""
        query = (
            f"SELECT {_COLUMNS} FROM messages WHERE state = ? AND sid != '' AND made > ? "  # noqa: S608
            "AND delivery = '' ORDER BY made"
        )
        return [_entry(row) for row in await self._all(query, State.SENT, since)]

    async def close(self) -> None:
        """See Ledger."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown()

    def _claim(self, entry: Entry, keys: Sequence[str], window: float) -> Claim:
        rows = [
            self._database.execute(
                "SELECT id FROM told WHERE key = ? AND at > ?", (key, entry.made - window)
            ).fetchone()
            for key in keys
        ]
        new = [key for key, row in zip(keys, rows, strict=True) if row is None]
        if not new:
            tellers = {row[0] for row in rows}
            found = [self._one(id) for id in sorted(tellers)]
            return Claim(granted=False, in_hand=next((one for one in found if one and one.state is State.OPEN), None))
        self._prune(entry.made)
        self._database.execute(
            f"INSERT INTO messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (entry.id, entry.person, entry.body, entry.made, entry.owner, entry.until, entry.state, "", ""),
        )
        self._database.executemany(
            "INSERT OR REPLACE INTO told (key, id, at) VALUES (?, ?, ?)", [(key, entry.id, entry.made) for key in new]
        )
        return Claim(granted=True)

    def _one(self, id: str) -> Entry | None:
        return _first(self._database.execute(f"SELECT {_COLUMNS} FROM messages WHERE id = ?", (id,)).fetchall())  # noqa: S608

    def _prune(self, now: float) -> None:
        if now - self._pruned < HOUR / 6:
            return
        self._pruned = now
        self._database.execute("DELETE FROM messages WHERE state != ? AND made < ?", (State.OPEN, now - KEEP))
        self._database.execute(
            "DELETE FROM messages WHERE state != ? AND id NOT IN (SELECT id FROM messages ORDER BY made DESC LIMIT ?)",
            (State.OPEN, MOST),
        )
        self._database.execute("DELETE FROM told WHERE id NOT IN (SELECT id FROM messages)")

    async def _all(self, query: str, *values: object) -> list[tuple[object, ...]]:
        return await self._run(lambda: self._database.execute(query, values).fetchall())

    async def _run(self, work: Callable[[], T]) -> T:
        """Does it in the ledger's thread, as one transaction."""

        def whole() -> T:
            with _transaction(self._database):
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, whole)
        except sqlite3.Error as error:
            if _is_broken(error):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
            raise LedgerError(f"{self._file}: {error}") from None
        except OSError as error:
            raise LedgerError(f"{self._file}: {error.strerror or error}") from None

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._file)
        except sqlite3.DatabaseError as error:
            if self._file is None or not _is_broken(error):
                raise
            aside = self._file.with_name(f"{self._file.name}.broken")
            log.error("%s is damaged and put aside as %s: who was told before is forgotten", self._file, aside)  # noqa: TRY400 -- told to people
            self._file.replace(aside)
            return _connect(self._file)

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _connect(file: Path | None) -> sqlite3.Connection:
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The texts in it name machines: for the owner alone, also while SQLite makes the file.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    database = sqlite3.connect(file or ":memory:", timeout=5, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA synchronous = EXTRA")
        with _transaction(database):
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite ends it by itself when the disk is full
            database.execute("ROLLBACK")
        raise


def _is_broken(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _first(rows: Sequence[tuple[object, ...]]) -> Entry | None:
    return _entry(rows[0]) if rows else None


def _entry(row: tuple[object, ...]) -> Entry:
    id, person, body, made, owner, until, state, sid, delivery = row
    return Entry(
        id=str(id),
        person=str(person),
        body=str(body),
        made=float(str(made)),
        owner=str(owner),
        until=float(str(until)),
        state=State(str(state)),
        sid=str(sid),
        delivery=str(delivery),
    )
