"""Downloads with a checksum, and the memory of what failed lately."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from compose.native.places import CACHE_VARIABLE, shown
from compose.native.tools import Release, this_machine

Say = Callable[[str], None]
RETRY_AFTER = 6 * 3600.0  # s
_TIMEOUT = httpx.Timeout(30.0, connect=4.0)
PROGRESS_EVERY = 5.0  # s


class FetchError(Exception):
    """Something could not be had; `str()` is one line for people."""


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Turns what the system refuses, such as a folder that cannot be written or a full disk, into a FetchError."""
    try:
        yield
    except OSError as error:
        where = f"{shown(Path(str(error.filename)))}: " if error.filename else ""
        raise FetchError(f"{where}{error.strerror or error}") from None


class Failures:
    """Fetches that failed lately: not tried again for a while, so that a start without network stays quick."""

    def __init__(self, cache: Path) -> None:
        self._path = cache / "failed.json"

    def recent(self, what: str) -> str | None:
        """Why the last attempt failed and when the next one is due; None when it may be tried now."""
        record = self._read().get(what)
        if record is None:
            return None
        left = record["at"] + RETRY_AFTER - time.time()
        if not 0 < left <= RETRY_AFTER:
            return None
        return f"{record['why']}; tried again in {_minutes(left)}, or now with --retry"

    def add(self, what: str, why: str) -> None:
        """Remembers a failure."""
        self._write({**self._read(), what: {"at": time.time(), "why": why}})

    def forget(self) -> None:
        """Lets everything be tried again."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            records = json.loads(self._path.read_text())
        except (OSError, ValueError, RecursionError):  # no memory of a failure only means another attempt
            return {}
        return {what: record for what, record in records.items() if _whole(record)} if isinstance(records, dict) else {}

    def _write(self, records: dict[str, dict[str, Any]]) -> None:
        with contextlib.suppress(OSError):  # as with reading
            make_cache(self._path.parent)
            self._path.write_text(json.dumps(records))


def _whole(record: object) -> bool:
    return isinstance(record, dict) and isinstance(record.get("at"), float) and isinstance(record.get("why"), str)


def make_cache(cache: Path) -> None:
    """Makes the cache folder for its owner alone, whatever the umask: what is in it will be run."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)


def distrust(cache: Path) -> str | None:
    """Why programs in this cache folder must not be run; None when nobody else can have put them there."""
    try:
        status = cache.stat()
    except OSError:
        return None
    if status.st_mode & stat.S_IWOTH:
        return f"everybody may write in {shown(cache)}, so it is not used; take that away with: chmod o-w {cache}"
    if os.geteuid() != 0 and status.st_uid not in (0, os.geteuid()):
        return f"{shown(cache)} belongs to somebody else, so it is not used; name another with {CACHE_VARIABLE}"
    return None


def release_home(release: Release, cache: Path) -> Path:
    """Where a release is, once unpacked."""
    return cache / "releases" / f"{release.name}-{release.version}"


@in_words()
def fetch_release(release: Release, cache: Path, say: Say) -> Path:
    """Downloads an official release, checks it against its published checksum and unpacks it.

    Raises FetchError; nothing is left behind then.
    """
    base = os.environ.get(release.variable, release.base).rstrip("/")
    url = release.url(release.archive, base)
    home = release_home(release, cache)
    make_cache(cache)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home.parent) as folder:
        archive = Path(folder) / url.rpartition("/")[2]
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
            expected = _published_checksum(client, release.url(release.checksums, base), archive.name)
            actual = _download(client, url, archive, say)
        if actual != expected:
            raise FetchError(f"{url} does not match its published checksum ({actual[:12]}, not {expected[:12]})")
        fresh = Path(folder) / "unpacked"
        fresh.mkdir()
        command = ["tar", "-xzf", str(archive), "-C", str(fresh), "--strip-components=1", "--no-same-owner"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FetchError(f"{url} cannot be unpacked: {done.stderr.strip()}")
        if not home.exists():  # another run may have been faster
            fresh.rename(home)
    return home


def _published_checksum(client: httpx.Client, url: str, file: str) -> str:
    try:
        answer = client.get(url)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            raise FetchError(f"there is no release at {url}") from None
        raise FetchError(f"{url} answered {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise FetchError(_unreachable(url, error)) from None
    for line in answer.text.splitlines():
        digest, _, name = line.strip().partition(" ")
        # A file of its own for one archive may leave the name out.
        if name.strip().lstrip("*") in (file, ""):
            return digest.lower()
    system, arch = this_machine()
    raise FetchError(f"there is no release for {system} on {arch}: {file} is not in {url}")


def _download(client: httpx.Client, url: str, path: Path, say: Say) -> str:
    digest = hashlib.sha256()
    got, told = 0, time.monotonic()
    try:
        with client.stream("GET", url) as answer, path.open("wb") as file:
            answer.raise_for_status()
            total = int(answer.headers.get("content-length", 0))
            for piece in answer.iter_raw(1 << 18):
                file.write(piece)
                digest.update(piece)
                got += len(piece)
                if time.monotonic() - told > PROGRESS_EVERY:
                    told = time.monotonic()
                    say(
                        f"  {path.name}: {got >> 20} of {total >> 20} MB" if total else f"  {path.name}: {got >> 20} MB"
                    )
    except httpx.HTTPStatusError as error:
        raise FetchError(f"{url} answered {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise FetchError(_unreachable(url, error)) from None
    return digest.hexdigest()


def _unreachable(url: str, error: Exception) -> str:
    why = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
    return f"{httpx.URL(url).host} cannot be reached ({why or type(error).__name__})"


def _minutes(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
