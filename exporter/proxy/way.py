"""A client's way to the upstream: a connection of its own, made when there is something to send."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from exporter.proxy.upstream import HIGH, Asker, Server, Upstream

log = logging.getLogger(__name__)
CONNECT = 10.0  # s to reach the upstream


class Way:
    """One client's."""

    def __init__(self, client: Asker, upstream: Upstream, unreachable: Callable[[str], None]) -> None:
        """`unreachable` is told why, when the upstream cannot be reached."""
        self._client = client
        self._upstream = upstream
        self._unreachable = unreachable
        self._waiting: list[bytes] = []  # until the upstream is reached, or until it is this request's turn
        self._waiting_bytes = 0
        self._connecting: asyncio.Task[None] | None = None
        self.server: Server | None = None
        """The other end, once it is reached."""

    @property
    def open(self) -> bool:
        """Whether it takes a file descriptor."""
        return self.server is not None or self._connecting is not None

    def send(self, data: bytes, *, queued: bool) -> None:
        """Bytes of the client; `queued` ones wait until `go`."""
        if not data:
            return
        if self.server is not None and not queued:
            self.server.write(data)
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if not queued:
            self._client.pause()
            self.go()
        elif self._waiting_bytes > HIGH:  # only so much: who is not read cannot be seen to leave
            self._client.pause()

    def go(self) -> None:
        """What waits may go."""
        if self.server is not None:
            self._client.reached(self.server)
        elif self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def reached(self, server: Server) -> None:
        """The upstream gets what has waited for it."""
        self.server = server
        server.write(b"".join(self._waiting))
        self.forget()

    def forget(self) -> None:
        """What waits need not go."""
        self._waiting.clear()
        self._waiting_bytes = 0

    def lost(self, *, again: bool) -> None:
        """The other end is gone; `again`: a new one may be wanted."""
        self.server = None
        if again:
            self._connecting = None

    def leave(self) -> None:
        """The client needs no answer any more."""
        if self.server is not None:
            self.server.abort()
            self.server = None

    def close(self) -> None:
        """The client is gone."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self.server is not None:
            self.server.abort()

    async def _connect(self) -> None:
        there = self._upstream
        try:
            async with asyncio.timeout(CONNECT):
                await asyncio.get_running_loop().create_connection(
                    partial(Server, self._client), there.host, there.port, ssl=there.tls
                )
        except OSError as error:
            log.debug("the upstream %s:%d cannot be reached: %s", there.host, there.port, error)
            self._unreachable(f"the proxy cannot reach Ollama at {there.host}:{there.port}")
