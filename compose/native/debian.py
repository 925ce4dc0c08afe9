"""Programs from Debian's packages, unpacked into the cache: no root, nothing installed, no daemon started.

apt runs with a state and cache folder of its own; sources and trusted keys stay the system's, so that what is
unpacked is what `apt-get install` would have verified.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from compose.native.fetching import PROGRESS_EVERY, FetchError, Say, in_words, make_cache
from compose.native.tools import Package

# Debian's Alertmanager reads its templates from this folder, a constant in the program: unpacked anywhere else it
# does not start. In our copy the constant becomes a path of the same length that leads to a file descriptor, and the
# starter opens the real folder there.
_ALERTMANAGER_FOLDER = b"/usr/share/prometheus/alertmanager"
_DESCRIPTOR = 9
_PATIENCE = 1800  # s, for one run of apt over a slow line


def available() -> bool:
    """Whether this system has apt and dpkg."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def find(program: str, package: Package, cache: Path) -> Path | None:
    """The starter of a program that was unpacked before."""
    starter = _home(package, cache) / "bin" / program
    return starter if starter.exists() else None


@in_words()
def fetch(packages: Iterable[Package], cache: Path, say: Say) -> None:
    """Downloads and unpacks the packages. Raises FetchError with apt's own last words."""
    make_cache(cache)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=cache) as folder:
        apt = _Apt(Path(folder), say)
        apt.update()
        for package in packages:
            _unpack(apt.download(package), package, cache)


def _home(package: Package, cache: Path) -> Path:
    return cache / "debian" / package.name


def _unpack(archives: list[Path], package: Package, cache: Path) -> None:
    home = _home(package, cache)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=home.parent) as folder:
        fresh = Path(folder) / "package"
        fresh.mkdir()
        for archive in archives:
            _run(["dpkg-deb", "-x", str(archive), str(fresh)], f"unpacking {archive.name}")
        _write_starters(fresh, home, package)
        if not home.exists():  # another run may have been faster
            fresh.rename(home)


def _write_starters(fresh: Path, home: Path, package: Package) -> None:
    """Scripts in `bin` that start the programs with what they need to work outside their own folders."""
    (fresh / "bin").mkdir()
    for position, (program, installed_name) in enumerate(package.programs.items()):
        real = fresh / "usr/bin" / installed_name
        arguments = f" {package.arguments.format(root=shlex.quote(str(home)))}" if position == 0 else ""
        redirect = ""
        if _redirect_folder(real):
            redirect = f"exec {_DESCRIPTOR}<{shlex.quote(str(home) + _ALERTMANAGER_FOLDER.decode())}\n"
        starter = fresh / "bin" / program
        starter.write_text(
            f'#!/bin/sh\n{redirect}exec {shlex.quote(str(home / "usr/bin" / installed_name))}{arguments} "$@"\n'
        )
        starter.chmod(0o755)


def _redirect_folder(program: Path) -> bool:
    """Points the program at the open descriptor instead of the fixed folder; False when it names no such folder."""
    content = program.read_bytes()
    if _ALERTMANAGER_FOLDER not in content:
        return False
    replacement = f"/proc/self/fd/{_DESCRIPTOR}".encode().ljust(len(_ALERTMANAGER_FOLDER), b"/")
    program.write_bytes(content.replace(_ALERTMANAGER_FOLDER, replacement))
    return True


class _Apt:
    """apt with folders of its own."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._say = say
        self._folder = folder
        for needed in ("state/lists/partial", "cache/archives/partial", "archives"):
            (folder / needed).mkdir(parents=True)
        self._archives = folder / "archives"
        self._options = [
            *("-o", f"Dir::State={folder}/state"),
            *("-o", "Dir::State::status=/var/lib/dpkg/status"),
            *("-o", f"Dir::Cache={folder}/cache"),
            *("-o", "Debug::NoLocking=1"),
            *("-o", "APT::Sandbox::User="),  # root would become _apt, which may not write in our folder
            *("-o", "Acquire::Languages=none"),
            *("-o", "Acquire::Retries=2"),
            *("-o", "Acquire::http::Timeout=20"),
            *("-o", "Acquire::https::Timeout=20"),
        ]

    def update(self) -> None:
        """Fetches the package lists.

        One broken source among many is no reason to give up: `download` fails if ours is the broken one.
        """
        self._apt("apt-get", "-q", "update", check=False)

    def download(self, package: Package) -> list[Path]:
        """Downloads a package and the dependencies it needs to have beside it."""
        names = [package.name]
        if package.needs:
            listed = self._apt("apt-cache", "depends", "--recurse", "--important", package.name)
            pattern = "|".join(re.escape(prefix) for prefix in package.needs)
            names += sorted(set(re.findall(rf"^((?:{pattern})\S+)$", listed, re.MULTILINE)))
        before = set(self._archives.iterdir())
        self._apt("apt-get", "-q", "download", *names)
        return sorted(set(self._archives.iterdir()) - before)

    def _apt(self, program: str, *arguments: str, check: bool = True) -> str:
        return _run(
            [program, *self._options, *arguments],
            f"{program} {arguments[0]}",
            check=check,
            cwd=self._archives,
            progress=lambda: self._say(f"  apt has fetched {_size(self._folder) >> 20} MB so far"),
        )


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # apt renames what is complete
            total += path.stat().st_size
    return total


def _run(
    command: list[str],
    what: str,
    *,
    check: bool = True,
    cwd: Path | None = None,
    progress: Callable[[], None] = lambda: None,
) -> str:
    """The output of a command; `progress` is called now and then while it runs."""
    begun = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
    ) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=PROGRESS_EVERY)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() - begun > _PATIENCE:
                    process.kill()
                    raise FetchError(f"{what} took longer than {_PATIENCE // 60} minutes") from None
                progress()
    if check and process.returncode:
        last = [line for line in output.splitlines() if line.strip()][-1:]
        raise FetchError(f"{what} failed: {last[0] if last else f'status {process.returncode}'}")
    return output
