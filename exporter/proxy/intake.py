"""A client's requests on their way in: read, let in or turned away, and remembered until they are answered."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from exporter.proxy.guards import Guard, Place, Refusal
from exporter.proxy.heads import Framing, RequestHead, WrongMessageError, request_head
from exporter.proxy.messages import Messages, Piece
from exporter.proxy.upstream import Upstream
from exporter.proxy.usage import Request, Without, may_ask
from exporter.proxy.watching import Ending, Exchange, Watcher
from provisioning.config.secrets import SecretError

log = logging.getLogger(__name__)
HEAD_TIME = 60.0  # s a client may take for the head of a request
MOST_ASKED = 1_000  # requests of one connection whose answers are still to come


@dataclass(slots=True)
class Asked:
    """A request whose answer is not whole yet."""

    head: RequestHead
    exchange: Exchange
    place: Place | None = None
    without: Without | None = None
    """What takes out of the answer what we asked for and the client did not."""


class Sender(Protocol):
    """The client's connection, as far as its requests need it."""

    def peer(self) -> str:
        """The client's address."""

    def forward(self, data: bytes) -> None:
        """Bytes for the upstream."""

    def pause(self) -> None:
        """It must wait."""

    def abort(self) -> None:
        """It must end."""

    def its_turn(self) -> None:
        """The request that waited goes on."""

    def turned_away(self, head: RequestHead, refusal: Refusal) -> None:
        """The request that came last is not passed on."""


class Intake:
    """One connection's requests."""

    def __init__(self, sender: Sender, upstream: Upstream, watcher: Watcher, guard: Guard | None) -> None:
        self._sender = sender
        self._upstream = upstream
        self._watcher = watcher
        self._guard = guard
        self._loop = asyncio.get_running_loop()
        self._requests: Messages[RequestHead] = Messages(_parse)
        self._under_way: Exchange | None = None  # whose request is still coming
        self._held: Request | None = None  # that request, while it must be whole before it goes on
        self._later: deque[Piece[RequestHead]] = deque()  # requests behind one that is not answered, before a guard
        self._impatience: asyncio.TimerHandle | None = None
        self.asked: deque[Asked] = deque()
        """In order, the one being answered first."""
        self.in_queue = False
        """The request that came last waits for its turn."""

    @property
    def behind(self) -> bool:
        """Whether requests have come that are still to be let in."""
        return bool(self._later)

    @property
    def whole(self) -> int:
        """How many requests have come to their end and are not answered."""
        return len(self.asked) - (self._under_way is not None)

    def feed(self, data: bytes) -> None:
        """Bytes of the client. Raises WrongMessageError for what must not be passed on."""
        pieces = self._requests.feed(data)
        if len(self.asked) + sum(piece.head is not None for piece in pieces) > MOST_ASKED:
            raise WrongMessageError(f"more than {MOST_ASKED} requests on one connection wait for their answers", 429)
        self._hurry()
        self._later.extend(pieces)
        self.take()

    def take(self) -> None:
        """Pass on what came; before a guard, no request while another is answered: that would be one too many."""
        while self._later:
            piece = self._later[0]
            if self._guard is not None and piece.head is not None and self.asked:
                self._sender.pause()
                return
            self._later.popleft()
            self._pass_on(piece)

    def malformed(self, status: int) -> RequestHead | None:
        """The client is refused with this status; the head of the request it was sending, if that was known."""
        if self._under_way is None:
            self._watcher.malformed()
            return None
        self._under_way.refused(status, "malformed")
        return self.asked[-1].head

    def answered(self, now: float) -> None:
        """The first has its answer."""
        self._ended(self.asked.popleft(), "complete", now)

    def end(self, ending: Ending) -> None:
        """No more of any of them."""
        now = self._loop.time()
        while self.asked:
            self._ended(self.asked.popleft(), ending, now)
        self._under_way = self._held = None
        self._later.clear()
        if self._impatience is not None:
            self._impatience.cancel()

    def _pass_on(self, piece: Piece[RequestHead]) -> None:
        raw = piece.raw
        if piece.head is not None:
            asked = Asked(piece.head, self._watcher.begun(piece.head, self._loop.time()))
            self.asked.append(asked)
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
        self._sender.forward(raw if self._held is None else self._hold(self._held, raw, piece))
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
                self.asked[-1].without = Without()
        return raw

    def _let_in(self, guard: Guard, asked: Asked) -> bool:
        answer = guard.admit(asked.head, self._sender.peer(), self._its_turn, self._turn_away)
        if isinstance(answer, Refusal):
            self._turn_away(answer)
            return False
        asked.place = answer
        self.in_queue = answer.waiting
        return True

    def _its_turn(self) -> None:
        self.in_queue = False
        self._sender.its_turn()

    def _turn_away(self, refusal: Refusal) -> None:
        """The request that came last is answered by us; before a guard there is no other."""
        self.in_queue = False
        asked = self.asked[-1]
        asked.exchange.refused(refusal.status, refusal.reason)
        self._sender.turned_away(asked.head, refusal)

    def _hurry(self) -> None:
        """A head that never ends must not hold a connection for ever; silence between requests may."""
        if self._requests.in_head:
            if self._impatience is None:
                self._impatience = self._loop.call_later(HEAD_TIME, self._sender.abort)
        elif self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _ended(self, asked: Asked, ending: Ending, now: float) -> None:
        if self._guard is not None and asked.place is not None:
            self._guard.leave(asked.place)
        asked.exchange.ended(ending, now)


def _parse(raw: bytes) -> tuple[RequestHead, Framing]:
    head = request_head(raw)
    return head, head.framing
