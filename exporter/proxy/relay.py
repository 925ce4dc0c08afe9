"""Passes bytes between a client and the upstream, one connection for one, and reads along.

A client's connection gets one of its own to the upstream with its first request, so keep-alive, back-pressure, half
closed connections and cancellation are what they would be without us: what one side does, the other sees. Bytes are
passed on first and understood afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from exporter.proxy.guards import Guard, Place, Refusal
from exporter.proxy.heads import Framing, RequestHead, ResponseHead, WrongMessageError, request_head
from exporter.proxy.messages import Messages, Piece
from exporter.proxy.saying import error_answer
from exporter.proxy.upstream import HIGH, Server, Upstream
from exporter.proxy.usage import Request, Without, may_ask
from exporter.proxy.watching import Ending, Exchange, Watcher
from provisioning.config.secrets import SecretError

log = logging.getLogger(__name__)
CONNECT = 10.0  # s to reach the upstream
HEAD_TIME = 60.0  # s a client may take for the head of a request
LINGER = 2.0  # s that a client whom we refused may go on sending before it is hung up on
MOST_ASKED = 1_000  # requests of one connection whose answers are still to come


@dataclass(slots=True)
class Asked:
    """A request whose answer is not whole yet."""

    head: RequestHead
    exchange: Exchange
    place: Place | None = None
    without: Without | None = None
    """What takes out of the answer what we asked for and the client did not."""


class Client(asyncio.Protocol):
    """The side that asks."""

    def __init__(self, upstream: Upstream, watcher: Watcher, open_ones: set[Client], guard: Guard | None) -> None:
        """`open_ones` holds this connection for as long as it is open."""
        self._upstream = upstream
        self._watcher = watcher
        self._guard = guard
        self._open_ones = open_ones
        self._loop = asyncio.get_running_loop()
        self._requests: Messages[RequestHead] = Messages(_parse_request)
        self._asked: deque[Asked] = deque()  # in order, the one being answered first
        self._under_way: Exchange | None = None  # whose request is still coming
        self._held: Request | None = None  # that request, while it must be whole before it goes on
        self._later: deque[Piece[RequestHead]] = deque()  # requests behind one that is not answered, before a guard
        self._waiting: list[bytes] = []  # for the upstream, until it is reached, or until it is this request's turn
        self._waiting_bytes = 0
        self._in_queue = False  # the request that came last waits for its turn
        self._other: Server | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._tunnel = False
        self._half_closed = False
        self._draining = False
        self._deaf = False  # refused: what it still sends is thrown away
        self._impatience: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self._socket: TransportSocket | None = None
        self.gone = asyncio.Event()
        self.opened = self._loop.time()

    @property
    def idle(self) -> bool:
        """Whether it asks nothing now."""
        return not self._asked and not self._tunnel

    @property
    def descriptors(self) -> int:
        """How many of the process it holds."""
        return 1 if self._other is None and self._connecting is None else 2

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- a stream server's promise
        transport.set_write_buffer_limits(high=HIGH)
        self.transport = transport
        self._socket = transport.get_extra_info("socket")
        # Were we killed, the kernel must break the connection off: an orderly end makes half an answer look whole.
        _reset_on_close(self._socket, on=True)
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._deaf:
            return
        if self._tunnel:
            self._forward(data)
            return
        try:
            pieces = self._requests.feed(data)
        except WrongMessageError as error:
            self._refuse(error.status, str(error))
            return
        if len(self._asked) + sum(piece.head is not None for piece in pieces) > MOST_ASKED:
            self._refuse(429, f"more than {MOST_ASKED} requests on one connection wait for their answers")
            return
        self._later.extend(pieces)
        self._take()
        self._hurry()

    def eof_received(self) -> bool:
        """The client will send no more; what is on its way to it still arrives."""
        if not self._asked or self._deaf:
            self.close()
            return False
        self._half_closed = True
        for asked in self._asked:
            asked.exchange.left()
        if self._in_queue or self.transport is None or not self.transport.can_write_eof():  # TLS has no half
            if self._other is not None:
                self._other.abort()
            self.close()
            return False
        self._pass_on_the_end()
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._open_ones.discard(self)
        self.gone.set()
        if self._impatience is not None:
            self._impatience.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._other is not None:
            self._other.abort()
        self._end_all("cancelled")

    def pause_writing(self) -> None:
        """The client reads slowly: the upstream must wait."""
        if self._other is not None:
            self._other.pause()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._other is not None:
            self._other.resume()

    # --- what the upstream's side calls: an Asker ---

    def reached(self, other: Server) -> bool:
        """See Asker. The upstream gets what has waited for it."""
        if self.transport is None or self.transport.is_closing() or self._deaf:
            return False
        self._other = other
        self.resume()  # first, as what is written now may pause it again
        other.write(b"".join(self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._half_closed:
            other.no_more()
        return True

    def method(self) -> str:
        """See Asker."""
        return self._asked[0].head.method if self._asked else ""

    def answer(self, data: bytes) -> None:
        """See Asker."""
        assert self.transport is not None  # noqa: S101
        self.transport.write(data)

    def edits(self) -> bool:
        """See Asker."""
        return any(asked.without is not None for asked in self._asked)

    def edited(self, piece: Piece[ResponseHead]) -> bytes:
        """See Asker."""
        without = self._asked[0].without if self._asked else None
        return piece.raw if without is None else without.feed(piece)

    def understood(self, piece: Piece[ResponseHead], now: float) -> None:
        """See Asker."""
        if not self._asked:
            return
        exchange = self._asked[0].exchange
        if piece.head is not None:
            if piece.head.interim:
                return
            exchange.answered(piece.head, now)
            self._tunnel = piece.head.switched
        if piece.content:
            exchange.received(piece.content, now)
        if piece.last and not self._tunnel:
            self._ended(self._asked.popleft(), "complete", now)
            if self._later:
                self._take()
                self._pass_on_the_end()
                self.resume()
            if self._draining and not self._asked:
                self.close()

    def upstream_gone(self, *, cleanly: bool, whole: bool) -> None:
        """See Asker."""
        self._other = None
        if self._in_queue and len(self._asked) == 1:
            self._connecting = None  # it had nothing to answer; the request that waits makes a new connection
            return
        without = self._asked[0].without if self._asked else None
        if without is not None:
            self.answer(without.rest())
        # A client that closed its side has left, most often: Ollama stops for it, as it would without us.
        broken: Ending = "cancelled" if self._half_closed else "aborted"
        self._end_all("complete" if cleanly and whole else broken)
        if cleanly:
            self.close()
        else:
            self.abort()

    def pause(self) -> None:
        """See Asker."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        """See Asker."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- what the server calls ---

    def drain(self) -> None:
        """Ends once what is under way has ended."""
        self._draining = True
        if self.idle:
            self.close()

    def close(self) -> None:
        """Ends, after what was written has gone out."""
        if self.transport is not None and not self.transport.is_closing():
            _reset_on_close(self._socket, on=False)
            self.transport.close()
            if not self.transport.can_write_eof():
                self._loop.call_later(LINGER, self._hang_up)

    def abort(self) -> None:
        """Ends at once; an answer under way must not look whole."""
        if self.transport is not None:
            _reset_on_close(self._socket, on=True)
            self.transport.abort()

    # --- the rest ---

    def _take(self) -> None:
        """Pass on what came; before a guard, no request while another is answered: that would be one too many."""
        while self._later and not self._deaf:
            piece = self._later[0]
            if self._guard is not None and piece.head is not None and self._asked:
                self.pause()
                return
            self._later.popleft()
            self._pass_on(piece)

    def _pass_on_the_end(self) -> None:
        if self._half_closed and not self._later and self._other is not None:
            self._other.no_more()

    def _pass_on(self, piece: Piece[RequestHead]) -> None:
        raw = piece.raw
        if piece.head is not None:
            asked = Asked(piece.head, self._watcher.begun(piece.head, self._loop.time()))
            self._asked.append(asked)
            self._under_way = asked.exchange
            if self._guard is not None and not self._let_in(self._guard, asked):
                return
            try:
                raw = self._upstream.rewritten(raw)
            except SecretError as error:
                log.error("a request is not passed on without its token: %s", error)  # noqa: TRY400 -- told to people
                self._turn_away(Refusal(502, "token", "the proxy cannot read the token that Ollama wants"))
                return
            if self._upstream.request_usage and may_ask(piece.head):
                self._held = Request(piece.head)
        self._forward(raw if self._held is None else self._hold(self._held, raw, piece))
        if self._under_way is not None:
            if piece.content:
                self._under_way.sent(piece.content)
            if piece.last:
                self._under_way.asked(self._loop.time())
                self._under_way = None

    def _hold(self, request: Request, raw: bytes, piece: Piece[RequestHead]) -> bytes:
        """What may go on of a request that must be whole first."""
        raw = request.feed(raw, piece)
        if request.done:
            self._held = None
            if request.changed:
                self._asked[-1].without = Without()
        return raw

    def _let_in(self, guard: Guard, asked: Asked) -> bool:
        peer = self.transport.get_extra_info("peername") if self.transport is not None else None
        answer = guard.admit(asked.head, str(peer[0]) if peer else "", self._its_turn, self._turn_away)
        if isinstance(answer, Refusal):
            self._turn_away(answer)
            return False
        asked.place = answer
        self._in_queue = answer.waiting
        return True

    def _its_turn(self) -> None:
        """What has waited goes on."""
        self._in_queue = False
        if self._other is not None:
            self.reached(self._other)
        elif self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())

    def _turn_away(self, refusal: Refusal) -> None:
        """The request that came last is answered by us; before a guard there is no other."""
        self._in_queue = False
        asked = self._asked[-1]
        asked.exchange.refused(refusal.status, refusal.reason)
        if self._other is not None:
            self._other.abort()
            self._other = None
        self._end_all("refused")
        self._say(refusal.status, refusal.why, asked.head, refusal.retry_after)

    def _forward(self, data: bytes) -> None:
        if not data:
            return
        if self._other is not None and not self._in_queue:
            self._other.write(data)
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if not self._in_queue:
            self.pause()
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
        elif self._waiting_bytes > HIGH:  # only so much: who is not read cannot be seen to leave
            self.pause()

    async def _connect(self) -> None:
        there = self._upstream
        try:
            async with asyncio.timeout(CONNECT):
                await self._loop.create_connection(partial(Server, self), there.host, there.port, ssl=there.tls)
        except OSError as error:
            log.debug("the upstream %s:%d cannot be reached: %s", there.host, there.port, error)
            asked = self._asked[0].head if self._asked else None
            self._end_all("unreachable")
            self._say(502, f"the proxy cannot reach Ollama at {there.host}:{there.port}", asked)

    def _refuse(self, status: int, why: str) -> None:
        """Not passed on: a request the upstream might understand differently."""
        log.info("refused a request: %s", why)
        others = len(self._asked) - (self._under_way is not None)
        answering = others > 0 or (self._other is not None and self._other.answering)
        if self._under_way is not None:
            self._under_way.refused(status, "malformed")
        else:
            self._watcher.malformed()
        if self._other is not None:
            self._other.abort()
            self._other = None
        asked = self._asked[-1].head if self._under_way is not None else None
        self._end_all("refused")
        if answering:
            self.abort()  # ours must not look like a part of another answer
        else:
            self._say(status, why, asked)

    def _say(self, status: int, why: str, asked: RequestHead | None = None, retry_after: float | None = None) -> None:
        """An answer of our own; the connection ends with it."""
        if self.transport is None or self.transport.is_closing():
            return
        self._deaf = True
        self._waiting.clear()
        path, bodiless = (asked.path, asked.method == "HEAD") if asked is not None else ("", False)
        self.transport.write(error_answer(status, why, path, retry_after=retry_after, bodiless=bodiless))
        if self.transport.can_write_eof() and not self._half_closed:
            # To hang up on a client that is still sending would take the answer from it.
            self.transport.write_eof()
            self.resume()
            self._loop.call_later(LINGER, self.close)
        else:
            self.close()

    def _end_all(self, ending: Ending) -> None:
        now = self._loop.time()
        while self._asked:
            self._ended(self._asked.popleft(), ending, now)
        self._under_way = self._held = None

    def _ended(self, asked: Asked, ending: Ending, now: float) -> None:
        if self._guard is not None and asked.place is not None:
            self._guard.leave(asked.place)
        asked.exchange.ended(ending, now)

    def _hurry(self) -> None:
        """A head that never ends must not hold a connection for ever; silence between requests may."""
        if self._requests.in_head:
            if self._impatience is None:
                self._impatience = self._loop.call_later(HEAD_TIME, self._lose_patience)
        elif self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _hang_up(self) -> None:
        """Over TLS a close waits for the client's own, which many never send; it need not once all has gone out."""
        if not self.gone.is_set() and self.transport is not None:
            if _unsent(self.transport):
                self._loop.call_later(LINGER, self._hang_up)
            else:
                self.transport.abort()

    def _lose_patience(self) -> None:
        self.abort()


def _parse_request(raw: bytes) -> tuple[RequestHead, Framing]:
    head = request_head(raw)
    return head, head.framing


def _reset_on_close(sock: TransportSocket | None, *, on: bool) -> None:
    """Whether the connection's end, by us or by the kernel for us, is a reset or in good order."""
    if sock is not None:
        with contextlib.suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the kernel does not have yet; TLS has another transport below it that asyncio does not show."""
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (below.get_write_buffer_size() if below is not None else 0)


def factory(
    upstream: Upstream, watcher: Watcher, open_ones: set[Client], guard: Guard | None = None
) -> Callable[[], Client]:
    """For `create_server`."""
    return lambda: Client(upstream, watcher, open_ones, guard)
