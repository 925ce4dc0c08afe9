"""A log file that never grows past a limit: the newest piece and one older piece beside it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LIMIT = 5_000_000  # bytes in a piece; two are kept


class RotatingLog:
    """Bytes of one service, appended to `path`; a full piece becomes `path`.1 in place of the one before."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self._limit = limit
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()

    def write(self, data: bytes) -> None:
        """Appends; a piece ends at the end of a line when the data has one.

        What a full disk or a removed folder does not take is lost: the service matters more than its log.
        """
        with contextlib.suppress(OSError):
            self._write(data)

    def _write(self, data: bytes) -> None:
        room = self._limit - self._size
        if len(data) > room:
            cut = data.find(b"\n", max(room, 0)) + 1 or len(data)
            self._append(data[:cut])
            self._file.close()
            self.path.replace(older(self.path))
            self._file = self.path.open("ab", buffering=0)
            self._size = 0
            data = data[cut:]
        self._append(data)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)


def older(path: Path) -> Path:
    """Where the piece before the newest is."""
    return path.with_name(f"{path.name}.1")


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log, from both pieces, without line ends; fewer when there are fewer."""
    lines: list[str] = []
    for piece in (path, older(path)):
        if len(lines) < count and piece.exists():
            lines = _tail(piece, count - len(lines)) + lines
    return lines


def _tail(path: Path, count: int) -> list[str]:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        data = b""
        while end > 0 and data.count(b"\n") <= count:
            start = max(0, end - 65536)
            file.seek(start)
            data = file.read(end - start) + data
            end = start
    return data.decode("utf-8", "replace").splitlines()[-count:]
