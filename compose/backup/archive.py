"""One backup is one file: a tar archive, encrypted by age while it is written, never plain on a disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from compose.backup.manifest import DATABASE, MANIFEST, NEEDED, BackupError, Manifest, NotTestedError, Part

PIECE = 4 * 1024 * 1024
_MANIFEST_BYTES = 64 * 1024 * 1024


class StoppedError(Exception):
    """Whoever takes the dump has ended, and has the reason."""


class Writer:
    """Adds parts to an archive and remembers their checksums."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.parts: dict[str, Part] = {}

    def add(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """One part. Raises OSError when it cannot be written."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        self._tar.addfile(info, io.BytesIO(data))
        self.parts[name] = Part(size=len(data), sha256=hashlib.sha256(data).hexdigest())


@contextmanager
def writing(path: Path, recipients: Path) -> Iterator[Writer]:
    """Writes an archive that is whole and on disk when this ends, and not there when it fails. Raises BackupError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with tempfile.TemporaryFile() as said, os.fdopen(descriptor, "wb") as file:
        try:
            with _encrypting(recipients, file, said) as age:
                assert age.stdin is not None  # noqa: S101 -- PIPE was asked for
                try:
                    with tarfile.open(fileobj=age.stdin, mode="w|") as tar:
                        yield Writer(tar)
                    age.stdin.close()
                except BrokenPipeError:
                    _close(age.stdin)
                    age.wait()
                    raise BackupError(f"cannot write {path}: {_last(said, 'age ended')}") from None
                except BaseException:
                    age.kill()
                    _close(age.stdin)
                    raise
            _ended_well(age, said, f"cannot write {path}")
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise


Take = Callable[[str, IO[bytes], int], None]
"""Is given each part: its name, its contents and its mode."""


def read(path: Path, identity: Path, take: Take) -> Manifest:
    """Gives every part to `take` and returns what the backup says of itself, after all of it was found to be true.

    Raises BackupError that says what is wrong: not ours to open, cut short, changed, or a part missing.
    """
    seen: dict[str, Part] = {}
    raw, left = b"", path.stat().st_size if path.exists() else 0
    with _opened(path, identity) as tar:
        for member in tar:
            left -= member.size  # age does not compress, so that all parts together are smaller than the file
            content = tar.extractfile(member) if member.isreg() and not member.issparse() and left >= 0 else None
            if content is None or member.name in seen:
                raise BackupError(f"{path.name}: {member.name} has no place in a backup")
            if member.name == MANIFEST:
                raw = content.read(_MANIFEST_BYTES)
                continue
            hashed = _Hashed(content)
            take(member.name, hashed, member.mode)  # type: ignore[arg-type]
            hashed.drain()
            seen[member.name] = Part(size=hashed.size, sha256=hashed.digest)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError:
        raise BackupError(f"{path.name}: its manifest is {'damaged' if raw else 'missing'}") from None
    for name in dict.fromkeys((*manifest.parts, *NEEDED, *seen)):
        if name not in seen:
            raise BackupError(f"{path.name}: {name} is missing")
        if seen[name] != manifest.parts.get(name):
            raise BackupError(f"{path.name}: {name} is damaged")
    return manifest


def check(path: Path, identity: Path) -> Manifest:
    """What the backup says of itself, after all of it was found to be true. Raises BackupError."""
    return read(path, identity, lambda _name, _content, _mode: None)


def dump(path: Path, identity: Path, into: IO[bytes]) -> None:
    """Writes the database's dump. Raises BackupError, and StoppedError when nobody reads what is written."""

    def take(name: str, content: IO[bytes], _mode: int) -> None:
        try:
            while name.startswith(DATABASE) and (data := content.read(PIECE)):
                into.write(data)
        except BrokenPipeError:
            raise StoppedError from None

    read(path, identity, take)


class _Hashed:
    """A part that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = PIECE) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read():
            pass

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def _opened(path: Path, identity: Path) -> Iterator[tarfile.TarFile]:
    with tempfile.TemporaryFile() as said:
        try:
            with identity.open("rb"):  # age would say it as if it were the backup's fault
                pass
        except OSError as error:
            raise NotTestedError(f"the key {identity} cannot be read: {error.strerror}") from None
        try:
            with path.open("rb") as file:
                age = subprocess.Popen(
                    ["age", "--decrypt", "-i", str(identity)], stdin=file, stdout=subprocess.PIPE, stderr=said
                )
        except FileNotFoundError as error:
            if error.filename == "age":
                raise NotTestedError("age is not on PATH; install it") from None
            raise BackupError(f"{path}: {error.strerror}") from None
        except OSError as error:
            raise BackupError(f"{path}: {error.strerror}") from None
        try:
            with tarfile.open(fileobj=age.stdout, mode="r|") as tar:
                yield tar
        except (tarfile.TarError, EOFError, OSError) as error:
            age.kill()
            age.wait()
            raise BackupError(f"{path.name} cannot be read: {_last(said, str(error))}") from None
        except BaseException:
            age.kill()
            raise
        else:
            assert age.stdout is not None  # noqa: S101 -- PIPE was asked for
            age.stdout.read()  # what is left is padding, and age tells only at the end whether all was there
            _ended_well(age, said, f"{path.name} cannot be read")
        finally:
            if age.stdout is not None:
                age.stdout.close()
            age.wait()


def _encrypting(recipients: Path, file: IO[bytes], said: IO[bytes]) -> subprocess.Popen[bytes]:
    command = ["age", "--encrypt", "-R", str(recipients)]
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=said)
    except FileNotFoundError:
        raise BackupError("age is not on PATH; install it, for it encrypts the backups") from None


def _close(pipe: IO[bytes]) -> None:
    """What is still on its way to a program that is gone does not matter."""
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _ended_well(age: subprocess.Popen[bytes], said: IO[bytes], otherwise: str) -> None:
    if age.wait():
        raise BackupError(f"{otherwise}: {_last(said, f'age ended with status {age.returncode}')}")


def _last(said: IO[bytes], otherwise: str) -> str:
    """The reason that age gives, without its name and its advice."""
    said.seek(0)
    lines = [
        line.removeprefix("age: ").removeprefix("error: ") for line in said.read().decode(errors="replace").splitlines()
    ]
    reasons = [line for line in lines if line and "report unexpected" not in line]
    return reasons[0] if reasons else otherwise
