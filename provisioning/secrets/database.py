"""PostgreSQL, asked through its own `psql`: passwords go by a file of our own, never by arguments or environment."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 10  # s to connect
_ROUNDS = 4096  # PostgreSQL's own
_REFUSED = re.compile("password authentication failed|no password supplied")
_AWAY = re.compile(
    "could not connect|could not translate|could not send|Connection refused|timeout expired|starting up|"
    "shutting down|terminating connection|server closed the connection|connection to server"
)


class DatabaseError(Exception):
    """PostgreSQL did not do it; `str()` is its reason, for people."""


class RefusedError(DatabaseError):
    """The password is not the one that PostgreSQL has."""


class AwayError(DatabaseError):
    """Nobody answers there, or not yet."""


@dataclass(frozen=True, slots=True)
class Login:
    """A role's way in."""

    address: str
    """host:port."""
    role: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.role!r} at {self.address!r})"

    @contextmanager
    def environment(self, database: str) -> Iterator[dict[str, str]]:
        """What PostgreSQL's programs need to get in to that database."""
        host, _, port = self.address.rpartition(":")
        with tempfile.TemporaryDirectory(prefix="cluster-ai-") as folder:
            file = Path(folder) / "password"
            file.touch(0o600)
            escaped = self.password.replace("\\", "\\\\").replace(":", "\\:")
            file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
            yield {
                **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
                "PGHOST": host.strip("[]"),
                "PGPORT": port,
                "PGUSER": self.role,
                "PGDATABASE": database,
                "PGPASSFILE": str(file),
                "PGCONNECT_TIMEOUT": str(_PATIENCE),
                "PGAPPNAME": "cluster-ai",
                "LC_ALL": "C",
            }


PSQL = ("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1")


def ready() -> None:
    """Raises DatabaseError where PostgreSQL could not be told anything."""
    if shutil.which(PSQL[0]) is None:
        raise DatabaseError(f"{PSQL[0]} is not on PATH; install PostgreSQL's client programs")


def query(login: Login, database: str, sql: str, values: Mapping[str, str] | None = None) -> str:
    """What psql prints for statements; `:'name'` in them stands for a value. Raises DatabaseError.

    The values go with the statements, where nobody sees them: arguments are everybody's to read.
    """
    settings = "".join(f"\\set {name} '{value}'\n" for name, value in (values or {}).items())
    with login.environment(database) as environment:
        return run([*PSQL, "--file=-"], environment, settings + sql)


def run(command: list[str], environment: Mapping[str, str], given: str = "") -> str:
    """The output of one of PostgreSQL's programs. Raises DatabaseError with its last words."""
    try:
        done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DatabaseError(f"{command[0]} is not on PATH; install PostgreSQL's client programs") from None
    if done.returncode:
        raise failure(command[0], done.stderr, done.returncode)
    return done.stdout


def failure(program: str, said: str, status: int) -> DatabaseError:
    """What a program's last words mean."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "FATAL" in line] or lines
    last = errors[-1] if errors else f"it ended with status {status}"
    last = re.sub(r"^psql:<stdin>:\d+: ", "", last)
    if _REFUSED.search(said):
        return RefusedError(last)
    return (AwayError if _AWAY.search(said) else DatabaseError)(f"{program}: {last}")


def verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (SCRAM-SHA-256), so that it need not be told the password itself."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_ROUNDS}:{salt_text}${stored_text}:{server_text}"
