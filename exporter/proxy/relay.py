"""Passes bytes between a client and the upstream, one connection for one, and reads along.

A client's connection gets one of its own to the upstream with its first request, so keep-alive, back-pressure, half
closed connections and cancellation are what they would be without us: what one side does, the other sees. Bytes are
passed on first and understood afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exporter.proxy.ends import Ends
from exporter.proxy.guards import Guard, Refusal
from exporter.proxy.heads import RequestHead, ResponseHead, WrongMessageError
from exporter.proxy.intake import Intake
from exporter.proxy.messages import Piece
from exporter.proxy.saying import error_answer
from exporter.proxy.upstream import HIGH, Server, Upstream
from exporter.proxy.watching import Ending, Watcher
from exporter.proxy.way import Way

log = logging.getLogger(__name__)


class Client(asyncio.Protocol):
    """The side that asks."""

    def __init__(self, upstream: Upstream, watcher: Watcher, open_ones: set[Client], guard: Guard | None) -> None:
        """`open_ones` holds this connection for as long as it is open."""
        self._open_ones = open_ones
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(self, upstream, watcher, guard)
        self._asked = self._intake.asked
        self._way = Way(self, upstream, self._unreachable)
        self._tunnel = False
        self._half_closed = False
        self._draining = False
        self._deaf = False  # refused: what it still sends is thrown away
        self._ends: Ends | None = None
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.Event()
        self.opened = self._loop.time()

    @property
    def idle(self) -> bool:
        """Whether it asks nothing now."""
        return not self._asked and not self._tunnel

    @property
    def descriptors(self) -> int:
        """How many of the process it holds."""
        return 2 if self._way.open else 1

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- a stream server's promise
        transport.set_write_buffer_limits(high=HIGH)
        self.transport = transport
        self._ends = Ends(transport, self.gone)
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._deaf:
            return
        if self._tunnel:
            self.forward(data)
            return
        try:
            self._intake.feed(data)
        except WrongMessageError as error:
            self._refuse(error.status, str(error))

    def eof_received(self) -> bool:
        """The client will send no more; what is on its way to it still arrives."""
        if not self._asked or self._deaf:
            self.close()
            return False
        self._half_closed = True
        for asked in self._asked:
            asked.exchange.left()
        if self._intake.in_queue or self.transport is None or not self.transport.can_write_eof():  # TLS has no half
            self._way.leave()
            self.close()
            return False
        self._pass_on_the_end()
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._open_ones.discard(self)
        self.gone.set()
        self._way.close()
        self._intake.end("cancelled")

    def pause_writing(self) -> None:
        """The client reads slowly: the upstream must wait."""
        if self._way.server is not None:
            self._way.server.pause()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._way.server is not None:
            self._way.server.resume()

    # --- what the upstream's side calls: an Asker ---

    def reached(self, other: Server) -> bool:
        """See Asker."""
        if self.transport is None or self.transport.is_closing() or self._deaf:
            return False
        self.resume()  # first, as what is written now may pause it again
        self._way.reached(other)
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
            self._intake.answered(now)
            if self._intake.behind:
                self._intake.take()
                self._pass_on_the_end()
                self.resume()
            if self._draining and not self._asked:
                self.close()

    def upstream_gone(self, *, cleanly: bool, whole: bool) -> None:
        """See Asker."""
        idle = self._intake.in_queue and len(self._asked) == 1
        self._way.lost(again=idle)
        if idle:  # it had nothing to answer; the request that waits makes a new connection
            return
        without = self._asked[0].without if self._asked else None
        if without is not None:
            self.answer(without.rest())
        # A client that closed its side has left, most often: Ollama stops for it, as it would without us.
        broken: Ending = "cancelled" if self._half_closed else "aborted"
        self._intake.end("complete" if cleanly and whole else broken)
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

    # --- what its requests call: a Sender ---

    def peer(self) -> str:
        """See Sender."""
        address = self.transport.get_extra_info("peername") if self.transport is not None else None
        return str(address[0]) if address else ""

    def forward(self, data: bytes) -> None:
        """See Sender."""
        self._way.send(data, queued=self._intake.in_queue)

    def its_turn(self) -> None:
        """See Sender."""
        self._way.go()

    def turned_away(self, head: RequestHead, refusal: Refusal) -> None:
        """See Sender."""
        self._way.leave()
        self._intake.end("refused")
        self._say(refusal.status, refusal.why, head, refusal.retry_after)

    # --- what the server calls ---

    def drain(self) -> None:
        """Ends once what is under way has ended."""
        self._draining = True
        if self.idle:
            self.close()

    def close(self) -> None:
        """Ends, after what was written has gone out."""
        if self._ends is not None:
            self._ends.close()

    def abort(self) -> None:
        """Ends at once; an answer under way must not look whole."""
        if self._ends is not None:
            self._ends.abort()

    # --- the rest ---

    def _pass_on_the_end(self) -> None:
        if self._half_closed and not self._intake.behind and self._way.server is not None:
            self._way.server.no_more()

    def _unreachable(self, why: str) -> None:
        asked = self._asked[0].head if self._asked else None
        self._intake.end("unreachable")
        self._say(502, why, asked)

    def _refuse(self, status: int, why: str) -> None:
        """Not passed on: a request the upstream might understand differently."""
        log.info("refused a request: %s", why)
        answering = self._intake.whole > 0 or (self._way.server is not None and self._way.server.answering)
        head = self._intake.malformed(status)
        self._way.leave()
        self._intake.end("refused")
        if answering:
            self.abort()  # ours must not look like a part of another answer
        else:
            self._say(status, why, head)

    def _say(self, status: int, why: str, asked: RequestHead | None = None, retry_after: float | None = None) -> None:
        """An answer of our own; the connection ends with it."""
        if self._ends is None or self.transport is None or self.transport.is_closing():
            return
        self._deaf = True
        self._way.forget()
        path, bodiless = (asked.path, asked.method == "HEAD") if asked is not None else ("", False)
        answer = error_answer(status, why, path, retry_after=retry_after, bodiless=bodiless)
        self._ends.close_with(answer, half_closed=self._half_closed)


def factory(
    upstream: Upstream, watcher: Watcher, open_ones: set[Client], guard: Guard | None = None
) -> Callable[[], Client]:
    """For `create_server`."""
    return lambda: Client(upstream, watcher, open_ones, guard)
