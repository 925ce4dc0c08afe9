"""How a client's connection ends: in good order, in a reset, or with an answer of our own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from asyncio.trsock import TransportSocket

LINGER = 2.0  # s that a client whom we refused may go on sending before it is hung up on


class Ends:
    """Those of one connection."""

    def __init__(self, transport: asyncio.Transport, gone: asyncio.Event) -> None:
        """`gone` is set once the connection is lost."""
        self._transport = transport
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._socket: TransportSocket | None = transport.get_extra_info("socket")
        # Were we killed, the kernel must break the connection off: an orderly end makes half an answer look whole.
        self._reset_on_close(on=True)

    def close(self) -> None:
        """After what was written has gone out."""
        if not self._transport.is_closing():
            self._reset_on_close(on=False)
            self._transport.close()
            if not self._transport.can_write_eof():
                self._loop.call_later(LINGER, self._hang_up)

    def abort(self) -> None:
        """At once; an answer under way must not look whole."""
        self._reset_on_close(on=True)
        self._transport.abort()

    def close_with(self, answer: bytes, *, half_closed: bool) -> None:
        """After this answer; `half_closed`: the client has closed its side."""
        self._transport.write(answer)
        if self._transport.can_write_eof() and not half_closed:
            # To hang up on a client that is still sending would take the answer from it.
            self._transport.write_eof()
            if not self._transport.is_closing():
                self._transport.resume_reading()
            self._loop.call_later(LINGER, self.close)
        else:
            self.close()

    def _hang_up(self) -> None:
        """Over TLS a close waits for the client's own, which many never send; it need not once all has gone out."""
        if not self._gone.is_set():
            if _unsent(self._transport):
                self._loop.call_later(LINGER, self._hang_up)
            else:
                self._transport.abort()

    def _reset_on_close(self, *, on: bool) -> None:
        """Whether the connection's end, by us or by the kernel for us, is a reset or in good order."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the kernel does not have yet; TLS has another transport below it that asyncio does not show."""
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (below.get_write_buffer_size() if below is not None else 0)
