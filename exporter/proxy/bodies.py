"""Where a body ends, found without changing a byte of it, and what it holds without its framing.

Chunks: RFC 9112, section 7.1.
"""

from __future__ import annotations

import re
from typing import Protocol

from exporter.proxy.heads import Framing, WrongMessageError

_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_CRLF = b"\r\n"
_LONGEST_LINE = 4096  # bytes of a chunk's first line, or of a trailer field
_MOST_TRAILERS = 64 << 10
# Chunks of one line of text each, as Ollama writes streams: many at once, at the speed of C. Each size is compared with
# what its chunk holds; where one differs, all are read the slow way.
_LINE = rb"([0-9a-f]{1,6})\r\n([^\n]+\n\n?)\r\n"
_ONE, _MANY = re.compile(_LINE), re.compile(rb"(?:[0-9a-f]{1,6}\r\n[^\n]+\n\n?\r\n)+")


class Body(Protocol):
    """Reads a body as it passes."""

    done: bool

    def feed(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Reads `data` from `at` on and gives where it stopped: at the end of data, or of the body.

        What the body holds is added to `out`. Raises WrongMessageError.
        """


def body_of(framing: Framing) -> Body:
    """A reader for a body of that length."""
    if framing == "chunked":
        return Chunked()
    return Endless() if framing == "close" else Counted(framing)


class Counted:
    """A body of so many bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes, at: int, out: list[bytes]) -> int:
        """See Body."""
        end = min(len(data), at + self._left)
        self._left -= end - at
        self.done = self._left == 0
        if end > at:
            out.append(data[at:end])
        return end


class Endless:
    """A body that ends with its connection."""

    done = False

    def feed(self, data: bytes, at: int, out: list[bytes]) -> int:
        """See Body."""
        out.append(data[at:])
        return len(data)


class Chunked:
    """A body in chunks."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # bytes of this chunk, with the end of line after it
        self._line = b""  # the beginning of a line whose end has not come
        self._trailers: int | None = None  # bytes of them so far, once the last chunk has come

    def feed(self, data: bytes, at: int, out: list[bytes]) -> int:
        """See Body."""
        end = len(data)
        while at < end and not self.done:
            if self._left:
                at = self._content(data, at, out)
            elif self._trailers is not None:
                at = self._trailer(data, at)
            else:
                past = self._many(data, at, out)
                at = past if past > at else self._size(data, at)
        return at

    def _many(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Past all whole chunks of one line each."""
        match = _MANY.match(data, at) if not self._line else None
        if match is None:
            return at
        chunks = _ONE.findall(data, at, match.end())
        if any(int(size, 16) != len(line) for size, line in chunks):
            return at
        out.extend(line for _, line in chunks)
        return match.end()

    def _size(self, data: bytes, at: int) -> int:
        line, at = self._whole_line(data, at)
        if line is None:
            return at
        match = _SIZE.fullmatch(line)
        if match is None:
            raise WrongMessageError("a chunk has no size")
        size = int(match[1], 16)
        if size == 0:
            self._trailers = 0
        else:
            self._left = size + len(_CRLF)
        return at

    def _content(self, data: bytes, at: int, out: list[bytes]) -> int:
        end = min(len(data), at + self._left)
        inside = min(end, at + self._left - len(_CRLF))
        if inside > at:
            out.append(data[at:inside])
        expected = b"\r\n"[max(len(_CRLF) - self._left, 0) :]
        if not expected.startswith(data[max(inside, at) : end]):
            raise WrongMessageError("a chunk is longer than it says")
        self._left -= end - at
        return end

    def _trailer(self, data: bytes, at: int) -> int:
        begin = at
        line, at = self._whole_line(data, at)
        self._trailers = (self._trailers or 0) + at - begin
        if self._trailers > _MOST_TRAILERS:
            raise WrongMessageError("the trailers are too long")
        self.done = line == _CRLF
        return at

    def _whole_line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """The line that ends in `data`, with its end, and where the next begins; None while it has not ended."""
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._line += data[at:stop]
        if len(self._line) > _LONGEST_LINE:
            raise WrongMessageError("a line of the framing is too long")
        if end < 0:
            return None, stop
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise WrongMessageError("a line of the framing ends without a carriage return")
        return line, stop
