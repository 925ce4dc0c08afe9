"""A stream of bytes read as HTTP messages, in step with its passing on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from exporter.proxy.bodies import Body, body_of
from exporter.proxy.heads import MOST_HEAD, Framing, WrongMessageError

_END = b"\r\n\r\n"
H = TypeVar("H")


@dataclass(slots=True)
class Piece(Generic[H]):
    """A stretch of the stream that belongs to one message."""

    raw: bytes
    """As it came."""
    head: H | None = None
    """The head that `raw` is, at the beginning of a message."""
    content: list[bytes] = field(default_factory=list)
    """What of the body is in it, without framing."""
    last: bool = False
    """Whether the message ends with it."""


class Messages(Generic[H]):
    """One direction of a connection: whole messages, one after the other."""

    def __init__(self, parse: Callable[[bytes], tuple[H, Framing]]) -> None:
        """`parse` reads a head with its empty line, and says how long its body is; it may raise WrongMessageError."""
        self._parse = parse
        self._head = b""
        self._body: Body | None = None

    @property
    def between(self) -> bool:
        """Whether no message is under way."""
        return self._body is None and not self._head

    @property
    def in_head(self) -> bool:
        """Whether a message has begun whose head is not whole."""
        return self._body is None and bool(self._head)

    def feed(self, data: bytes) -> list[Piece[H]]:
        """What came, message by message. Raises WrongMessageError; what came before the error is lost to the caller."""
        pieces: list[Piece[H]] = []
        at = 0
        while at < len(data):
            if self._body is None:
                piece, at = self._read_head(data, at)
                if piece is None:
                    break
            else:
                piece, at = self._read_body(self._body, data, at)
            pieces.append(piece)
        return pieces

    def _read_head(self, data: bytes, at: int) -> tuple[Piece[H] | None, int]:
        looked = max(len(self._head) - len(_END) + 1, 0)
        begun = self._head + data[at:] if self._head else data[at:]
        end = begun.find(_END, looked)
        if (len(begun) if end < 0 else end) > MOST_HEAD:
            raise WrongMessageError("the head is too long", 431)
        if end < 0:
            self._head = begun
            return None, len(data)
        at += end + len(_END) - len(self._head)
        raw, self._head = begun[: end + len(_END)], b""
        head, framing = self._parse(raw)
        body = body_of(framing)
        self._body = None if body.done else body
        return Piece(raw, head, last=body.done), at

    def _read_body(self, body: Body, data: bytes, at: int) -> tuple[Piece[H], int]:
        content: list[bytes] = []
        end = body.feed(data, at, content)
        if body.done:
            self._body = None
        raw = data if at == 0 and end == len(data) else data[at:end]
        return Piece(raw, content=content, last=body.done), end
