"""Clients of streams, many in one thread: raw sockets, so that what they cost is little and the same for everybody."""

from __future__ import annotations

import re
import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Self

PIECE = b'"done":false'
_WRITTEN = re.compile(rb'"content":"([0-9]{19})"')
_END = b"0\r\n\r\n"
_READ = 1 << 18
_PATIENCE = 30.0


def request(chunks: int, pause: int) -> bytes:
    """Ask `token_stream.c` for so many pieces, so many microseconds apart."""
    body = b'{"model":"tiny","stream":true,"messages":[{"role":"user","content":"%d %d"}]}' % (chunks, pause)
    head = b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def connect(port: int) -> socket.socket:
    """A client's connection."""
    made = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def whole(client: socket.socket) -> tuple[float, int]:
    """When the first piece came, and how many there were."""
    first, data = 0.0, b""
    while not data.endswith(_END):
        got = client.recv(_READ)
        if not got:
            raise SystemExit("a stream broke off")
        data += got
        if not first and PIECE in data:
            first = time.perf_counter()
    return first, data.count(PIECE)


@dataclass
class Streams:
    """So many at once."""

    port: int
    count: int
    chunks: int
    pause: int
    pieces: int = 0
    late: list[float] = field(default_factory=list)
    """Seconds from the writing of a piece to its reading here, where they are wanted."""

    def __enter__(self) -> Self:
        """Ask for all of them."""
        self._selector = selectors.DefaultSelector()
        self._clients = [connect(self.port) for _ in range(self.count)]
        for client in self._clients:
            client.sendall(request(self.chunks, self.pause))
            client.setblocking(False)
            self._selector.register(client, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave those that are still open."""
        self._selector.close()
        for client in self._clients:
            client.close()

    def read(self, seconds: float, *, timed: bool = False) -> float:
        """For so long, or until all have ended; gives how long it was."""
        begin = time.perf_counter()
        while (took := time.perf_counter() - begin) < seconds and self._selector.get_map():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101 -- what was registered
                self._got(key.fileobj, timed=timed)
        return took

    def _got(self, client: socket.socket, *, timed: bool) -> None:
        data = client.recv(_READ)
        now = time.monotonic_ns()
        self.pieces += data.count(PIECE)
        if timed:
            self.late.extend((now - int(written)) / 1e9 for written in _WRITTEN.findall(data))
        if not data or data.endswith(_END):
            self._selector.unregister(client)
