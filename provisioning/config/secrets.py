"""Secrets that live in files: read when needed, followed when they change, never shown."""

from __future__ import annotations

from pathlib import Path

_MAX_BYTES = 64 * 1024


class SecretError(Exception):
    """A secret file cannot be used; `str()` is one line for people that names the file and holds no secret."""


class SecretFile:
    """One secret in one file, such as an API key; a rotated file is noticed at the next read."""

    __slots__ = ("_seen", "_value", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._value = ""

    def read(self) -> str:
        """The file's one line without surrounding white space.

        Raises SecretError when the file is missing, unreadable, empty, not text, or more than one line.
        """
        try:
            status = self.path.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen != self._seen:
                self._value = self._checked(self._bytes())
                self._seen = seen
        except OSError as error:
            raise SecretError(f"cannot read {self.path}: {error.strerror or error}") from None
        return self._value

    def _bytes(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)

    def _checked(self, raw: bytes) -> str:
        if len(raw) > _MAX_BYTES:
            raise SecretError(f"{self.path} is larger than {_MAX_BYTES // 1024} KiB: it does not hold one secret")
        try:
            text = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise SecretError(f"{self.path} is not text") from None
        if not text:
            raise SecretError(f"{self.path} is empty")
        if not text.isprintable():  # a line break would let the file add headers to a request
            raise SecretError(f"{self.path} holds more than one line; keep the secret alone in it")
        return text

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r})"
