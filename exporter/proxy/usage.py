"""For `request_usage`: OpenAI streams are asked to say their tokens, and what they say of it is kept from the client.

Ollama then sends one event more, with usage and without choices (its middleware/openai.go), and in text completions a
usage of zeros in every event. Everything else of the stream stays as it came, chunk by chunk.
"""

from __future__ import annotations

import json
import re
from typing import Any

from exporter.proxy.heads import RequestHead, ResponseHead
from exporter.proxy.messages import Piece

LONGEST = 16 << 20
"""Bytes of a request that are held until it is whole; longer ones are passed on as they are."""
_LONGEST_EVENT = 4 << 20
_PATHS = frozenset({"/v1/chat/completions", "/v1/completions"})
_OPTION = b'"stream_options":{"include_usage":true},'
_LENGTH = re.compile(rb"(?i)(\r\ncontent-length:[ \t]*)[0-9]+")
_USAGE = re.compile(rb',"usage":\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}')
_END = b"\n\n"
_OK = 200


def may_ask(head: RequestHead) -> bool:
    """Whether a request could be for a stream that does not tell its tokens, and can be held until it is whole."""
    held = head.framing == "chunked" or 0 < head.framing <= LONGEST
    odd = any(head.fields.get(name) is not None for name in (b"content-encoding", b"expect", b"trailer"))
    return held and not odd and head.method == "POST" and head.path in _PATHS


def with_option(body: bytes) -> bytes | None:
    """The same request for a stream that says its tokens; None for one that is to stay as it is."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict) or asked.get("stream") is not True or "stream_options" in asked:
        return None
    return body.replace(b"{", b"{" + _OPTION, 1)


class Request:
    """A request on its way, held until it is whole."""

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._raw: list[bytes] = []
        self._content: list[bytes] = []
        self._size = 0
        self.done = False
        """Whether nothing is held any more."""
        self.changed = False

    def feed(self, raw: bytes, piece: Piece[RequestHead]) -> bytes:
        """What may go on now; `raw` is what would."""
        self._raw.append(raw)
        self._content.extend(piece.content)
        self._size += len(raw)
        self.done = piece.last or self._size > LONGEST
        if not self.done:
            return b""
        body = with_option(b"".join(self._content)) if self._size <= LONGEST else None
        if body is None:
            return b"".join(self._raw)
        self.changed = True
        if self._head.framing == "chunked":
            return self._raw[0] + _chunk(body) + b"0\r\n\r\n"
        return _LENGTH.sub(rb"\g<1>%d" % len(body), self._raw[0]) + body


class Without:
    """An answer on its way, without what the client did not ask for."""

    def __init__(self) -> None:
        self._on = self._chunked = False
        self._partial = b""

    def feed(self, piece: Piece[ResponseHead]) -> bytes:
        """What the client gets in place of this piece."""
        if piece.head is not None:
            self._begin(piece.head)
            return piece.raw
        if not self._on:
            return piece.raw
        parts = [self._part(one) for one in piece.content]
        if piece.last:
            parts.append(self.rest() + (b"0\r\n\r\n" if self._chunked else b""))
        return b"".join(parts)

    def rest(self) -> bytes:
        """What is still held, when no more comes."""
        rest, self._partial = self._partial, b""
        return self._framed(_stripped(rest))

    def _begin(self, head: ResponseHead) -> None:
        kind = (head.fields.get(b"content-type") or b"").partition(b";")[0].strip()
        plain = head.fields.get(b"content-encoding") is None and head.fields.get(b"trailer") is None
        self._chunked = head.framing == "chunked"
        self._on = head.status == _OK and kind == b"text/event-stream" and plain and not isinstance(head.framing, int)

    def _part(self, content: bytes) -> bytes:
        data = self._partial + content
        end = data.rfind(_END) + len(_END) if _END in data else 0
        if len(data) - end > _LONGEST_EVENT:
            end = len(data)
        self._partial = data[end:]
        return self._framed(_stripped(data[:end]))

    def _framed(self, data: bytes) -> bytes:
        return _chunk(data) if data and self._chunked else data


def _stripped(events: bytes) -> bytes:
    if b'"usage":' not in events:
        return events
    return b"".join(map(_event, re.findall(rb"(?s).*?\n\n|.+", events)))


def _event(event: bytes) -> bytes:
    said = _object(event)
    if said is None or not isinstance(said.get("usage"), dict) or not isinstance(said.get("choices"), list):
        return event
    return _USAGE.sub(b"", event) if said["choices"] else b""


def _object(event: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(event.strip().removeprefix(b"data:"))
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
