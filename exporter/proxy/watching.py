"""What the relay tells of each exchange, to whoever wants to know. Nothing here can change what passes."""

from __future__ import annotations

from typing import Literal, Protocol

from exporter.proxy.heads import RequestHead, ResponseHead

Ending = Literal["complete", "cancelled", "aborted", "refused", "unreachable"]
"""Whole; the client left; the upstream broke off; not passed on; the upstream could not be reached."""


class Exchange(Protocol):
    """One request and its answer. All times are the event loop's, in seconds."""

    def sent(self, content: list[bytes]) -> None:
        """More of the request's body, without framing."""

    def asked(self, now: float) -> None:
        """The request is whole."""

    def answered(self, head: ResponseHead, now: float) -> None:
        """The head of the answer proper has come."""

    def received(self, content: list[bytes], now: float) -> None:
        """More of the answer's body, without framing."""

    def left(self) -> None:
        """The client has closed its side; it may still read, but most that do this are gone."""

    def refused(self, status: int, reason: str) -> None:
        """It is answered by us, with this status; its end follows."""

    def ended(self, ending: Ending, now: float) -> None:
        """The last that is heard of it."""


class Watcher(Protocol):
    """Is told of every exchange."""

    def begun(self, head: RequestHead, now: float) -> Exchange:
        """A request's head has come."""

    def malformed(self) -> None:
        """A request's head was refused."""
