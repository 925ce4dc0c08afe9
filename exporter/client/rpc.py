"""Dask's scheduler RPC as an asyncio client that can only read.

No dask is needed here and nothing is unpickled, so one client works with every version of distributed and a hostile
scheduler gains nothing. It is not a Dask client: the scheduler does not count it among its clients.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from exporter import dask_protocol
from exporter.client.recording import Call, calling
from exporter.client.sockets import classify, expiry, tls_context
from exporter.errors import CollectError, Reason
from provisioning.config.targets import DaskTarget

# Each operation with the arguments it may take. All of them only read, exist from 2022.12 to 2026.8 (an unknown one
# makes the scheduler log a traceback) and answer from memory: no fan-out to workers, nothing installed.
OPERATIONS = {
    "identity": frozenset[str](),
    "processing": frozenset[str](),
    "events": frozenset({"topic"}),
    "versions": frozenset[str](),
}
MAX_CONNECTIONS = 4
REFUSAL_SECONDS = 600.0  # a blocked operation logs a traceback on the scheduler every time it is asked for
_READ_CHUNK = 2**18
_LARGE = 2**20  # bytes of an answer above which a target's answers are read and decoded one after the other
_TURN = 0.004  # seconds of decoding after which others have their turn


class RpcClient:
    """Calls to one scheduler over a few connections that stay open between collections."""

    def __init__(self, target: DaskTarget, monotonic: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(target.scheduler)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._tls = target if parts.scheme == "tls" else None
        self._where = f"scheduler {target.scheduler}"
        self._timeout = target.timeout
        self._monotonic = monotonic
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._one_large = asyncio.Lock()
        self._refusals: dict[str, tuple[float, CollectError]] = {}
        self._closed = False
        self.certificate_expiry: float | None = None  # of the last connection over TLS, seconds since the epoch

    async def call(self, op: str, **arguments: object) -> Any:
        """The scheduler's reply to `op`: dicts, tuples, str, bytes, numbers.

        Raises ValueError before anything is sent when `op` or an argument is not in OPERATIONS, CollectError when
        the call fails.
        """
        if op not in OPERATIONS or not arguments.keys() <= OPERATIONS[op]:
            raise ValueError(f"Dask operation {op!r} with {sorted(arguments)} is not on the list of allowed ones")
        self._raise_known_refusal(op)
        message = dask_protocol.encode({"op": op, "reply": True, **arguments})
        with calling(" ".join(("RPC", op, *map(str, arguments.values()))), self._where) as call:
            return await self._call(op, message, call)

    async def _call(self, op: str, message: bytes, call: Call) -> Any:
        try:
            # A bound of its own: a caller that gave up may have left the call to others (`collectors.base.once`).
            async with asyncio.timeout(self._timeout), self._slots:
                reply = await self._exchange(message, call)
            return dask_protocol.result(op, reply)
        except (OSError, EOFError) as error:
            self._drop_idle()
            raise classify(error, self._where) from None
        except CollectError as error:
            raise self._remember(op, CollectError(error.reason, f"{self._where} {error}")) from None

    async def close(self) -> None:
        """Close every connection; calls under way fail, later ones are refused."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    async def _exchange(self, message: bytes, call: Call) -> Any:
        """One question and its answer. A kept connection that turns out to be dead is replaced once."""
        if self._idle:
            try:
                async with self._lease(self._idle.pop()) as connection:
                    return await connection.ask(message, call)
            except (OSError, EOFError):
                self._drop_idle()
        if self._closed:
            raise CollectError(Reason.INTERNAL, "was asked after its connections were closed")
        async with self._lease(await self._open()) as connection:
            return await connection.ask(message, call)

    @asynccontextmanager
    async def _lease(self, connection: _Connection) -> AsyncIterator[_Connection]:
        """Kept for the next call when all went well; closed when not, because an answer may still be on its way."""
        self._busy.add(connection)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        finally:
            self._busy.discard(connection)
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    async def _open(self) -> _Connection:
        context = tls_context(self._tls, check_hostname=False) if self._tls else None
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=context, limit=_READ_CHUNK, server_hostname=self._host if context else None
        )
        if context is not None:
            self.certificate_expiry = expiry(writer.get_extra_info("peercert"))
        connection = _Connection(reader, writer, self._one_large)
        try:
            dask_protocol.greeting(await connection.ask(dask_protocol.encode(dask_protocol.HANDSHAKE)))
        except (ConnectionError, EOFError) as error:
            connection.close()
            if self._tls is not None and self._tls.cert_file is None:
                raise CollectError(
                    Reason.TLS, "closed the TLS connection; it may ask for a client certificate: cert_file and key_file"
                ) from error
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _raise_known_refusal(self, op: str) -> None:
        until, error = self._refusals.get(op, (0.0, None))
        if error is not None and self._monotonic() < until:
            raise CollectError(error.reason, str(error))

    def _remember(self, op: str, error: CollectError) -> CollectError:
        if error.reason is Reason.FORBIDDEN:
            self._refusals[op] = (self._monotonic() + REFUSAL_SECONDS, error)
        return error


class _Connection:
    """One established connection; one question at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_large: asyncio.Lock) -> None:
        self._reader, self._writer = reader, writer
        self._one_large = one_large

    async def ask(self, message: bytes, call: Call | None = None) -> Any:
        self._writer.write(message)
        await self._writer.drain()
        size = dask_protocol.block_size(await self._number())
        if call is not None:
            call.size = size
        count_bytes = await self._number()
        table = await self._reader.readexactly(dask_protocol.SIZE_BYTES * dask_protocol.frame_count(count_bytes, size))
        first, rest = dask_protocol.frame_layout(table, size)
        async with AsyncExitStack() as held:
            if first > _LARGE:
                await held.enter_async_context(self._one_large)
            value = await self._frame(first)
        await self._skip(rest)
        return value

    async def _number(self) -> bytes:
        return await self._reader.readexactly(dask_protocol.SIZE_BYTES)

    async def _frame(self, size: int) -> Any:
        if size <= dask_protocol.PIECE:
            return dask_protocol.decode(await self._reader.readexactly(size))
        frame = dask_protocol.Frame(size)
        turns = _Turns()
        left = size
        while left:
            piece = await self._reader.read(min(left, dask_protocol.PIECE))
            if not piece:
                raise EOFError
            left -= len(piece)
            frame.feed(piece)
            await turns.give()
        value = None
        for value in frame.values():  # noqa: B007 -- the last one
            await turns.give()
        return value

    async def _skip(self, count: int) -> None:
        while count:
            chunk = await self._reader.read(min(count, _READ_CHUNK))
            if not chunk:
                raise EOFError
            count -= len(chunk)

    def close(self) -> None:
        """At once, without waiting for the other side to agree."""
        self._writer.transport.abort()


class _Turns:
    """Lets the rest of the exporter work, now and then, between two pieces of decoding."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    async def give(self) -> None:
        if time.monotonic() - self._began > _TURN:
            await asyncio.sleep(0)
            self._began = time.monotonic()
