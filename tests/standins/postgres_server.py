"""A real PostgreSQL with our rendered settings: where $POSTGRES_BIN points, Debian's, or its package unpacked.

`python -m tests.standins.postgres_server` unpacks it and age, where there is apt; nothing is installed or started.
PostgreSQL refuses to run as root, so for root it runs as `nobody`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package
from provisioning.render.postgres import files
from provisioning.secrets.database import Login, run
from provisioning.secrets.installation import Installation, installation
from provisioning.secrets.making import init
from tests.ports import free_port
from tests.provisioning.secrets.installed import write

POSTGRES = Package(
    "postgresql-15",
    {},
    needs=("postgresql-client-1", "libpq", "libicu", "libxml", "libxslt1", "libldap", "libsasl2-"),
)
AGE = Package("age", {})
_CACHED = default_cache_dir() / "debian"
_NEEDED = ("postgres", "initdb", "psql", "pg_dump", "pg_restore")


@cache
def programs() -> Path:
    """The folder with its programs, or the test is skipped with the reason."""
    found = find()
    if found is None:
        pytest.skip("PostgreSQL is not on this machine and not unpacked yet (`make tools` unpacks it)")
    if os.geteuid() != 0 or _everybodys(found) or not found.is_relative_to(_CACHED):
        return found
    # A test run by root: nobody may not look into root's cache.
    folder = Path(tempfile.mkdtemp(prefix="cluster-ai-postgres-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    copied = shutil.copytree(_CACHED / POSTGRES.name, folder / POSTGRES.name, symlinks=True)
    return copied / found.relative_to(_CACHED / POSTGRES.name)


def find() -> Path | None:
    """The folder with all of its programs, None when this machine has none."""
    named = os.environ.get("POSTGRES_BIN")
    folders = [Path(named)] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += sorted((_CACHED / POSTGRES.name).glob("usr/lib/postgresql/*/bin"))
    return next((folder for folder in folders if all((folder / name).exists() for name in _NEEDED)), None)


def age() -> Path:
    """The folder with age, or the test is skipped with the reason."""
    unpacked = _CACHED / AGE.name / "usr/bin"
    on_path = shutil.which("age")
    if on_path:
        return Path(on_path).parent
    if not (unpacked / "age").exists():
        pytest.skip("age is not on PATH and not unpacked yet (`make tools` unpacks it)")
    return unpacked


class Postgres:
    """One server for one installation; `stop` and `start` keep its data and port."""

    def __init__(self, there: Installation, folder: Path) -> None:
        self.there = there
        self._folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._as = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.geteuid() == 0 else []

    def login(self, role: str = "postgres", name: str = "postgres-password") -> Login:
        return Login(self.there.parts.postgres, role, (self.there.secrets / name).read_text())

    def make(self) -> None:
        """What the image does on an empty data folder: the cluster, then our roles."""
        out = self.there.folder / "rendered"
        for name, text in files(self.there.config, self.there.places, out, "cluster-ai.yml").items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
        password = self._folder / "first"
        password.write_text((self.there.secrets / "postgres-password").read_text())
        if self._as:
            nobody = pwd.getpwnam("nobody").pw_uid
            os.chown(self._folder, nobody, -1)
            os.chown(password, nobody, -1)
        command = [programs() / "initdb", "-D", self._data, "-U", "postgres", f"--pwfile={password}", "--no-sync"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        done = subprocess.run(
            [*self._as, *command], check=False, capture_output=True, text=True, env=_environment(), cwd="/"
        )
        assert done.returncode == 0, done.stderr
        password.unlink()
        self.start()
        with self.login().environment("postgres") as environment:
            run(["psql", "--no-psqlrc", "--quiet", f"--file={out / 'postgres/roles.sql'}"], environment)

    def start(self) -> None:
        config = self.there.folder / "rendered/postgres/postgresql.conf"
        command = [programs() / "postgres", "-D", self._data, "-c", f"config_file={config}", "-c", "fsync=off"]
        with (self.there.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen([*self._as, *command], stderr=log, env=_environment(), cwd="/")
        end = time.monotonic() + 20
        host, _, port = self.there.parts.postgres.rpartition(":")
        ready = [programs() / "pg_isready", "-q", "-h", host, "-p", port]
        while subprocess.run(ready, check=False, env=_environment()).returncode:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as when the power fails; what it had promised is in its log of changes."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(20)
            self._process = None

    @property
    def log(self) -> str:
        return (self.there.folder / "postgres.log").read_text(errors="replace")


@contextlib.contextmanager
def running(*lines: str, redis: str | None = None) -> Iterator[Postgres]:
    """A PostgreSQL for a new installation, whose file has `lines` under `production`; or the test is skipped."""
    with folder() as new:
        write(new, *lines)
        with of(new, redis) as server:
            yield server


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """One for an installation; not pytest's, which `nobody` may not enter."""
    with tempfile.TemporaryDirectory(prefix="cluster-ai-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def of(folder: Path, redis: str | None = None) -> Iterator[Postgres]:
    """A new PostgreSQL for the installation in that folder, or the test is skipped."""
    if os.geteuid() == 0 and (shutil.which("setpriv") is None or not _everybodys(programs())):
        pytest.skip("PostgreSQL does not run as root, and `nobody` cannot run the one there is")
    with with_programs():
        (folder / "postgres").mkdir()
        there = installation(folder / "cluster-ai.yml", postgres=f"127.0.0.1:{free_port()}", redis=redis)
        parts = replace(there.parts, postgres_socket=folder / "postgres")
        there = replace(there, parts=parts, places=replace(there.places, production=parts))
        init(there)
        server = Postgres(there, folder / "postgres")
        try:
            server.make()
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def with_programs() -> Iterator[None]:
    """PostgreSQL's own programs and age come first on PATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs()}:{age()}:{os.environ['PATH']}")
        patch.setenv("LD_LIBRARY_PATH", _environment().get("LD_LIBRARY_PATH", ""))
        yield


def _environment() -> dict[str, str]:
    unpacked = [folder for folder in programs().parents if folder.name == POSTGRES.name]
    libraries = [str(path) for folder in unpacked for path in folder.glob("usr/lib/*-linux-gnu")]
    return {**os.environ, "LC_ALL": "C", **({"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})}


def _everybodys(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def main() -> None:
    """Unpacks PostgreSQL and age unless they are there; a machine without them skips some tests."""
    if not debian.available():
        return
    there = ((AGE, shutil.which("age") or (_CACHED / AGE.name).exists()), (POSTGRES, find()))
    missing = [package for package, found in there if not found]
    try:
        if missing:
            debian.fetch(missing, default_cache_dir(), print)
    except FetchError as error:
        sys.stdout.write(f"PostgreSQL or age could not be had, their tests are skipped: {error}\n")


if __name__ == "__main__":
    main()
