"""What is to be said of the secrets without showing one."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provisioning.config.secrets import SecretError
from provisioning.secrets.files import MODE, read
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import BY_NAME, DERIVED, KEYS, NEXT, OPERATOR_KEY, PREVIOUS, SECRETS
from provisioning.secrets.redis_users import derived

_DAY = 86400


@dataclass(frozen=True, slots=True)
class Seen:
    """One file."""

    name: str
    purpose: str
    days: int | None
    """Since it was written; None when it is not there."""
    problem: str = ""
    """What is wrong with it, in a few words."""
    note: str = ""
    """What is to be done about it some time."""


def look(there: Installation) -> list[Seen]:
    """Every secret that this installation has or should have."""
    folder = there.secrets
    rows = [_seen(folder / secret.name, secret.purpose) for secret in SECRETS]
    rows += [_seen(folder / name, purpose) for name, purpose in (KEYS | DERIVED).items()]
    rows = [_outdated(row, there) if row.name in DERIVED and not row.problem else row for row in rows]
    return [*rows, *_leftovers(there)]


def folder_problem(there: Installation) -> str | None:
    """What is wrong with the folder itself, in a line."""
    try:
        found = there.secrets.stat()
    except OSError as error:
        return f"{there.secrets}: {error.strerror}"
    if found.st_uid != os.geteuid():
        return f"{there.secrets} belongs to somebody else, who can read everything in it"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return f"{there.secrets} is open to others: chmod 700 {there.secrets}"
    return None


def _seen(path: Path, purpose: str) -> Seen:
    try:
        found = path.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return Seen(path.name, purpose, None, "missing" if missing else str(error.strerror))
    days = max(0, int((time.time() - found.st_mtime) // _DAY))
    return Seen(path.name, purpose, days, _problem(path, found))


def _problem(path: Path, found: os.stat_result) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    if found.st_uid != os.geteuid():
        return "belongs to somebody else"
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return f"mode {mode:04o}, so others may have read it: chmod {MODE:o}, then rotate it"
    if path.name not in BY_NAME:
        return "" if found.st_size else "empty"
    try:
        weak = BY_NAME[path.name].weakness(read(path))
    except SecretError as error:
        return str(error).removeprefix(f"{path} ")
    return f"weak: {weak}" if weak else ""


def _outdated(row: Seen, there: Installation) -> Seen:
    path = there.secrets / row.name
    try:
        same = path.read_text(encoding="utf-8") == derived(there)[path]
    except (OSError, UnicodeDecodeError, SecretError):
        return row  # the password that it is made from is named already
    return row if same else Seen(row.name, row.purpose, row.days, "older than what it is made from: secrets init")


def _leftovers(there: Installation) -> Iterator[Seen]:
    operator = there.secrets / OPERATOR_KEY
    if operator.exists():
        row = _seen(operator, "opens every backup, for you alone")
        yield Seen(row.name, row.purpose, row.days, row.problem, "take it away from this host")
    for name in BY_NAME:
        if (there.secrets / f"{name}{NEXT}").exists():
            problem = f"a rotation was interrupted: secrets rotate {name}"
            yield Seen(f"{name}{NEXT}", BY_NAME[name].purpose, None, problem)
        previous = there.secrets / f"{name}{PREVIOUS}"
        if previous.exists():
            row = _seen(previous, BY_NAME[name].purpose)
            note = f"still taken: secrets rotate {name} --finish"
            yield Seen(row.name, row.purpose, row.days, row.problem, note)
