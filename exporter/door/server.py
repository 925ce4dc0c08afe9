"""Serves an application on the addresses it is given, and lets no client hold it up."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from exporter.door.crowd import Crowd
from exporter.door.listen import Address, CannotListenError
from exporter.door.settings import WebSettings

log = logging.getLogger(__name__)
KEEPALIVE = 28.0  # seconds for a whole request head, and between two; aiohttp's own hour lets the half-sent stay open
HANDSHAKE = 15.0  # seconds for TLS; a client that says nothing costs a socket for as long
SENDING = 30.0  # seconds a client has to take its answer
MOST_UNTAKEN = 256 << 20  # bytes of answers that wait for their clients
SHUTDOWN = 4.0  # seconds a scrape under way has to end after SIGTERM
_BACKLOG = 1024
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SILENCE = 60.0  # seconds between two lines that nobody new can be let in


class Server:
    """An application on its addresses."""

    def __init__(
        self,
        application: web.Application,
        settings: WebSettings,
        *,
        keepalive: float = KEEPALIVE,
        handshake: float = HANDSHAKE,
    ) -> None:
        """`keepalive` and `handshake` in seconds."""
        self._settings = settings
        self._handshake = handshake
        self._listening: list[asyncio.Server] = []
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_http_log(),
            keepalive_timeout=keepalive,
            shutdown_timeout=SHUTDOWN,
            auto_decompress=False,  # nobody asks in gzip but who wants us to unfold it
        )

    async def start(self, addresses: Sequence[Address | socket.socket]) -> list[str]:
        """Listen; the URLs served. Raises CannotListenError."""
        await self._runner.setup()
        tls = self._settings.tls()
        patience = None if tls is None else self._handshake
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_Complaints())
        assert self._runner.server is not None  # noqa: S101 -- setup has made it
        protocol = Crowd(self._runner.server)
        urls: list[str] = []
        for address in addresses:
            if isinstance(address, socket.socket):
                server = await loop.create_server(
                    protocol, sock=address, ssl=tls, backlog=_BACKLOG, ssl_handshake_timeout=patience
                )
            else:
                try:
                    server = await loop.create_server(
                        protocol,
                        address.host or None,
                        address.port,
                        ssl=tls,
                        backlog=_BACKLOG,
                        ssl_handshake_timeout=patience,
                    )
                except OSError as error:
                    raise CannotListenError(address, error) from None
            self._listening.append(server)
            urls.extend(_url(listening, tls=tls is not None) for listening in server.sockets)
        return urls

    async def stop(self) -> None:
        """Take no more requests, finish those under way, close every connection."""
        for server in self._listening:
            server.close()
        await self._runner.cleanup()


class _Complaints:
    """The event loop's own complaints.

    A listening socket that cannot accept for want of file descriptors complains _BACKLOG times a second, with a
    traceback each: enough to fill a disk. One line in a while says the same.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in _FULL and "socket" in context):
            loop.default_exception_handler(context)
        elif loop.time() >= self._next:
            self._next = loop.time() + _SILENCE
            log.error(
                "new connections wait, they cannot be taken: %s; with too many open files, raise the limit "
                "(ulimit -n, LimitNOFILE= of a systemd unit)",
                error.strerror,
            )


class PatientResponse(web.Response):
    """An answer that may be large: a client that does not take it is dropped, with what is kept for it.

    So is the one that has waited longest, when more than MOST_UNTAKEN would wait: whoever asks and reads nothing could
    otherwise fill the memory within seconds.
    """

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body. Raises ConnectionResetError when the client takes longer than SENDING."""
        _untaken[self] = len(self.body) if isinstance(self.body, bytes) else 0
        _make_room()
        try:
            async with asyncio.timeout(SENDING):
                await super().write_eof(data)
        except TimeoutError:
            self.give_up()
            raise ConnectionResetError("the client does not take its answer") from None
        finally:
            _untaken.pop(self, None)

    def give_up(self) -> None:
        """Hang up."""
        request = self._req
        if request is not None and request.transport is not None:
            request.transport.abort()


_untaken: dict[PatientResponse, int] = {}  # bytes, the oldest first


def _make_room() -> None:
    """The newest answer is always sent."""
    while len(_untaken) > 1 and sum(_untaken.values()) > MOST_UNTAKEN:
        oldest = next(iter(_untaken))
        del _untaken[oldest]
        oldest.give_up()


def _url(listening: socket.socket, *, tls: bool) -> str:
    scheme = "https" if tls else "http"
    name = listening.getsockname()
    if not isinstance(name, tuple):
        return f"{scheme}+unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"


def _http_log() -> logging.Logger:
    """The log of aiohttp without what any caller can put there by sending something that is not HTTP."""
    http = logging.getLogger("exporter.http")
    if not http.filters:
        http.addFilter(lambda record: not _by_the_caller(record))
    return http


def _by_the_caller(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not None and kind.__module__ == "aiohttp.http_exceptions"
