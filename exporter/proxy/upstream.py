"""The side that answers: one connection to Ollama, for one client."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from exporter.proxy.heads import Framing, ResponseHead, WrongMessageError, response_head, with_bearer, with_host
from exporter.proxy.messages import Messages, Piece

log = logging.getLogger(__name__)
HIGH = 256 << 10  # bytes waiting for a slow reader above which the other side is no longer read


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    rename: bytes | None = None
    """What requests call their host in place of what the client wrote; Ollama on loopback refuses names it does not
    know (its allowedHostsMiddleware)."""
    bearer: Callable[[], bytes | None] | None = None
    """What requests bring in place of the client's key; without it, that is passed on. May raise SecretError."""
    request_usage: bool = False
    """Whether OpenAI streams are to say their tokens."""

    def rewritten(self, raw: bytes) -> bytes:
        """A request's head as the upstream is to get it. Raises SecretError."""
        if self.rename is not None:
            raw = with_host(raw, self.rename)
        return raw if self.bearer is None else with_bearer(raw, self.bearer())


class Asker(Protocol):
    """The client's side, as far as the upstream's needs it."""

    def reached(self, other: Server) -> bool:
        """The upstream is there; False when nobody waits for it any more."""

    def method(self) -> str:
        """Of the request whose answer comes now; empty when nothing was asked."""

    def answer(self, data: bytes) -> None:
        """Bytes from the upstream, as they came."""

    def edits(self) -> bool:
        """Whether the client is not to get all of it."""

    def edited(self, piece: Piece[ResponseHead]) -> bytes:
        """What it is to get of this."""

    def understood(self, piece: Piece[ResponseHead], now: float) -> None:
        """What those bytes were."""

    def upstream_gone(self, *, cleanly: bool, whole: bool) -> None:
        """The upstream's connection is over. `whole`: with an answer that its end makes complete, or none begun."""

    def pause(self) -> None:
        """The upstream takes requests slowly: the client must wait."""

    def resume(self) -> None:
        """See `pause`."""


class Server(asyncio.Protocol):
    """The side that answers."""

    def __init__(self, client: Asker) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._answers: Messages[ResponseHead] = Messages(self._parse)
        self._endless = False  # the answer under way ends with the connection
        self._blind = False  # a tunnel, or an answer that could not be understood: bytes pass all the same
        self._transport: asyncio.Transport | None = None
        self._ended = False

    @property
    def answering(self) -> bool:
        """Whether an answer has begun and not ended."""
        return self._blind or not self._answers.between

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- a stream connection's promise
        transport.set_write_buffer_limits(high=HIGH)
        self._transport = transport
        if not self._client.reached(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        edits = self._client.edits()
        if not edits:
            self._client.answer(data)
        if self._blind:
            return
        now = self._loop.time()
        try:
            for piece in self._answers.feed(data):
                if edits:
                    self._client.answer(self._client.edited(piece))
                self._client.understood(piece, now)
        except WrongMessageError as error:
            if edits:
                log.warning("an answer of the upstream is not understood and broken off: %s", error)
                self._over(cleanly=False)
                self.abort()
                return
            self._blind = True
            log.warning("an answer of the upstream is not understood and passed on as it is: %s", error)

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        self._over(cleanly=True)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._over(cleanly=error is None)

    def pause_writing(self) -> None:
        """The upstream reads slowly: the client must wait."""
        self._client.pause()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._client.resume()

    def write(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._transport is not None:
            self._transport.write(data)

    def no_more(self) -> None:
        """The client has sent its last byte."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def abort(self) -> None:
        """The client is gone: the upstream should stop working for it at once."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """See Client.pause_writing."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """See Client.resume_writing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _parse(self, raw: bytes) -> tuple[ResponseHead, Framing]:
        head = response_head(raw, self._client.method())
        self._endless = head.framing == "close"
        if head.switched:
            self._blind = True
        return head, head.framing

    def _over(self, *, cleanly: bool) -> None:
        if self._ended:
            return
        self._ended = True
        whole = self._answers.between or self._endless or self._blind
        self._client.upstream_gone(cleanly=cleanly, whole=whole and not self._unanswered())

    def _unanswered(self) -> bool:
        """Whether something was asked and no word of an answer has come."""
        return self._answers.between and self._client.method() != ""
