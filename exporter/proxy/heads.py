"""Heads of HTTP/1.x messages, read strictly: what two readers could understand differently is refused.

RFC 9112 (HTTP/1.1): sections 3 and 4 (start lines), 5 (fields), 6.3 (how long a body is), 9.3 (persistence).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MOST_HEAD = 256 << 10
"""Bytes of a start line and fields; Ollama's own server takes no more than four times that."""
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST = re.compile(rb"(%s) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])" % _TOKEN)
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"(%s):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*" % _TOKEN)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BODILESS = frozenset({204, 304})
_SWITCHED = 101
_FIRST_FINAL = 200

Framing = int | Literal["chunked", "close"]
"""How long a body is: that many bytes, in chunks, or until the connection ends."""


class WrongMessageError(Exception):
    """A message that must not be passed on; `status` is for the client, `str()` says why."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Fields:
    """Header fields in the order they came, names in small letters."""

    pairs: tuple[tuple[bytes, bytes], ...]

    def get(self, name: bytes) -> bytes | None:
        """The first value of that name."""
        return next((value for key, value in self.pairs if key == name), None)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of that name, lists taken apart."""
        return [part.strip(b" \t") for key, value in self.pairs if key == name for part in value.split(b",")]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a client asks."""

    method: str
    target: str
    fields: Fields
    framing: int | Literal["chunked"]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What the upstream answers."""

    status: int
    fields: Fields
    framing: Framing

    @property
    def interim(self) -> bool:
        """Whether the answer proper is still to come (100 Continue and the like)."""
        return self.status < _FIRST_FINAL and self.status != _SWITCHED

    @property
    def switched(self) -> bool:
        """Whether the connection now speaks something else."""
        return self.status == _SWITCHED


def request_head(raw: bytes) -> RequestHead:
    """From a head with its empty line. Raises WrongMessageError."""
    start, fields = _parts(raw)
    match = _REQUEST.fullmatch(start)
    if match is None:
        raise WrongMessageError("the request line is none of HTTP/1.x")
    method, target, minor = match.groups()
    if method == b"CONNECT":
        raise WrongMessageError("this is no proxy to other places", 405)
    if len(fields.all(b"host")) != 1 and minor == b"1":
        raise WrongMessageError("a request names its host once")
    framing = _framing(fields, chunks=minor == b"1")
    return RequestHead(method.decode(), target.decode("latin-1"), fields, 0 if framing is None else framing)


def response_head(raw: bytes, method: str) -> ResponseHead:
    """From a head with its empty line; `method` is the request's. Raises WrongMessageError."""
    start, fields = _parts(raw)
    match = _STATUS.fullmatch(start)
    if match is None:
        raise WrongMessageError("the status line is none of HTTP/1.x", 502)
    status = int(match[2])
    if method == "HEAD" or status < _FIRST_FINAL or status in _BODILESS:
        return ResponseHead(status, fields, 0)
    framing = _framing(fields, chunks=True)
    return ResponseHead(status, fields, "close" if framing is None else framing)


def with_host(raw: bytes, host: bytes) -> bytes:
    """The same head naming another host; every other byte as it came."""
    return re.sub(rb"(?i)(\r\nhost:[ \t]*)[^\r\n]*", lambda found: found[1] + host, raw, count=1)


def with_bearer(raw: bytes, token: bytes | None) -> bytes:
    """The same head with this token, or none, in place of what the client proves itself with."""
    without = re.sub(rb"(?i)\r\n(?:authorization|x-api-key):[^\r\n]*", b"", raw)
    return without if token is None else without.replace(b"\r\n", b"\r\nAuthorization: Bearer %s\r\n" % token, 1)


def _parts(raw: bytes) -> tuple[bytes, Fields]:
    lines = raw[:-4].split(b"\r\n")
    pairs = []
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:  # a folded line, a space before the colon, a lone line feed: read in two ways by two readers
            raise WrongMessageError("a header field is malformed")
        pairs.append((match[1].lower(), match[2]))
    return lines[0], Fields(tuple(pairs))


def _framing(fields: Fields, *, chunks: bool) -> int | Literal["chunked"] | None:
    """RFC 9112, section 6.3; both lengths at once, or two that differ, are how requests are smuggled."""
    lengths, codings = fields.all(b"content-length"), fields.all(b"transfer-encoding")
    if codings:
        if lengths or not chunks or [coding.lower() for coding in codings] != [b"chunked"]:
            raise WrongMessageError("the length of the body is not clear")
        return "chunked"
    if not lengths:
        return None
    if len(set(lengths)) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise WrongMessageError("the length of the body is not clear")
    return int(lengths[0])
