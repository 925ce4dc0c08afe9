"""The RPC client against a scheduler that misbehaves in every way a socket can."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from exporter import dask_protocol as protocol
from exporter.client.rpc import MAX_CONNECTIONS, OPERATIONS, REFUSAL_SECONDS, RpcClient
from exporter.errors import CollectError, Reason
from provisioning.config.targets import DaskTarget
from tests.exporter.dask.framing import read_block
from tests.exporter.dask.recorded import Clock

GREETING = {"compression": None, "python": (3, 11, 2), "pickle-protocol": 5}
Answer = Callable[["Peer", dict[str, Any]], Awaitable[None]]


class Peer:
    """The scheduler's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, value: object) -> None:
        frame = msgpack.packb(value)
        await self.send_raw(struct.pack("<QQQ", 16 + len(frame), 1, len(frame)) + frame)

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Any:
        size = protocol.block_size(await self.reader.readexactly(8))
        return read_block(await self.reader.readexactly(size))


class Scheduler:
    """Greets, then answers every call with `answer`; counts connections and keeps what it was asked."""

    def __init__(self, answer: Answer, greeting: object = GREETING) -> None:
        self.answer, self.greeting = answer, greeting
        self.connections = 0
        self.asked: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.peers: list[Peer] = []
        self.port = 0

    @asynccontextmanager
    async def running(self, timeout: str = "5s") -> AsyncIterator[RpcClient]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        client = RpcClient(target(self.port, timeout), monotonic=Clock(0.0))
        try:
            yield client
        finally:
            await client.close()
            server.close()
            for peer in self.peers:
                peer.writer.transport.abort()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            await peer.send(self.greeting)
            await peer.receive()
            while True:
                message = await peer.receive()
                self.asked.append(message)
                await self.answer(peer, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.transport.abort()


def target(port: int, timeout: str = "5s") -> DaskTarget:
    return DaskTarget(name="main", scheduler=f"tcp://127.0.0.1:{port}", timeout=timeout)


async def echo(peer: Peer, message: dict[str, Any]) -> None:
    await peer.send({"you": message["op"], "topic": message.get("topic")})


async def failure(client: RpcClient, op: str = "identity", **arguments: object) -> CollectError:
    with pytest.raises(CollectError) as caught:
        await client.call(op, **arguments)
    return caught.value


async def test_calls_share_one_connection() -> None:
    scheduler = Scheduler(echo)
    async with scheduler.running() as client:
        assert await client.call("identity") == {"you": "identity", "topic": None}
        assert await client.call("events", topic="all") == {"you": "events", "topic": "all"}
    assert scheduler.connections == 1
    assert scheduler.asked[0] == {"op": "identity", "reply": True}


async def test_calls_side_by_side_are_bounded() -> None:
    waiting, release = asyncio.Semaphore(0), asyncio.Event()

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        waiting.release()
        await release.wait()
        await echo(peer, message)

    scheduler = Scheduler(answer)
    async with scheduler.running() as client:
        calls = [asyncio.create_task(client.call("identity")) for _ in range(MAX_CONNECTIONS + 3)]
        for _ in range(MAX_CONNECTIONS):
            await waiting.acquire()
        assert scheduler.connections == MAX_CONNECTIONS
        release.set()
        assert len(await asyncio.gather(*calls)) == MAX_CONNECTIONS + 3
        assert scheduler.connections == MAX_CONNECTIONS


async def test_a_target_s_large_answers_are_read_one_after_the_other() -> None:
    """Four connections with an answer of the largest size each would be 128 MiB at once."""
    begun, release = asyncio.Event(), asyncio.Event()
    large = msgpack.packb(b"x" * 3 * 2**20)
    whole = struct.pack("<QQQ", 16 + len(large), 1, len(large)) + large

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        if message["op"] == "identity":
            await peer.send_raw(whole[: len(whole) // 2])
            begun.set()
            await release.wait()
            await peer.send_raw(whole[len(whole) // 2 :])
        elif message["op"] == "processing":
            await peer.send_raw(whole)
        else:
            await echo(peer, message)

    async with Scheduler(answer).running() as client:
        first = asyncio.create_task(client.call("identity"))
        await begun.wait()
        second = asyncio.create_task(client.call("processing"))
        for _ in range(20):  # small ones pass by
            await client.call("versions")
        assert not second.done()
        release.set()
        assert len(await first) == len(await second) == 3 * 2**20


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("run_function", {}),
        ("terminate", {}),
        ("retire_workers", {}),
        ("get_task_stream", {}),
        ("identity", {"n_workers": 1}),
        ("events", {"topic": "all", "serializers": ["pickle"]}),
        ("events", {"reply": False}),
        ("", {}),
    ],
)
async def test_anything_not_listed_is_refused_before_a_byte_is_sent(op: str, arguments: dict[str, Any]) -> None:
    scheduler = Scheduler(echo)
    async with scheduler.running() as client:
        with pytest.raises(ValueError, match="not on the list"):
            await client.call(op, **arguments)
    assert scheduler.connections == 0


def test_the_list_only_reads() -> None:
    assert set(OPERATIONS) == {"identity", "processing", "events", "versions"}


async def test_claim_of_eight_gigabytes_fails_at_once() -> None:
    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send_raw(struct.pack("<QQQ", 8 * 2**30, 1, 8 * 2**30 - 16))

    scheduler = Scheduler(answer)
    async with scheduler.running() as client:
        error = await failure(client)
        assert error.reason is Reason.TOO_LARGE
        assert str(error).startswith(f"scheduler tcp://127.0.0.1:{scheduler.port} sent a message of 8192 MiB;")
        await scheduler.gone.wait()  # and the connection was closed, not kept


async def test_claim_of_eight_gigabytes_outside_the_block_fails_at_once() -> None:
    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send_raw(struct.pack("<QQQQ", 25, 2, 1, 8 * 2**30) + b"\xc0")

    async with Scheduler(answer).running() as client:
        assert (await failure(client)).reason is Reason.TOO_LARGE


async def test_pickles_after_the_block_are_dropped() -> None:
    frame = msgpack.packb({"value": 1, "pickled": {"__Pickled__": 1}})

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send_raw(struct.pack("<QQQQ", 24 + len(frame), 2, len(frame), 300_000) + frame + b"x" * 300_000)

    scheduler = Scheduler(answer)
    async with scheduler.running() as client:
        for _ in range(2):  # the second one shows that the first was read to its end
            assert await client.call("identity") == {"value": 1, "pickled": None}
    assert scheduler.connections == 1


async def test_half_a_frame_then_silence_times_out_and_frees_its_slot() -> None:
    silent = True

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        if silent:
            await peer.send_raw(struct.pack("<QQ", 1000, 1))
        else:
            await echo(peer, message)

    scheduler = Scheduler(answer)
    async with scheduler.running(timeout="200ms") as client:
        errors = await asyncio.gather(*(failure(client) for _ in range(MAX_CONNECTIONS)))
        assert {error.reason for error in errors} == {Reason.TIMEOUT}
        assert "did not answer in time" in str(errors[0])
        silent = False
        assert await client.call("identity") == {"you": "identity", "topic": None}
        assert scheduler.connections == MAX_CONNECTIONS + 1


async def test_connection_of_a_cancelled_call_is_never_used_again() -> None:
    asked = asyncio.Event()
    late: list[Peer] = []

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        if message["op"] == "processing":
            late.append(peer)
            asked.set()
        else:
            await echo(peer, message)

    scheduler = Scheduler(answer)
    async with scheduler.running() as client:
        await client.call("identity")
        call = asyncio.create_task(client.call("processing"))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await scheduler.gone.wait()
        assert await client.call("identity") == {"you": "identity", "topic": None}
    assert scheduler.connections == 2
    assert len(late) == 1


@pytest.mark.parametrize("raw", [b"\xc1", b"\xa5hell", b"\x80\x04\x95cposix\nsystem\n"])
async def test_wrong_msgpack_is_a_protocol_error_and_closes(raw: bytes) -> None:
    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send_raw(struct.pack("<QQQ", 16 + len(raw), 1, len(raw)) + raw)

    scheduler = Scheduler(answer)
    async with scheduler.running() as client:
        assert (await failure(client)).reason is Reason.PROTOCOL
        await scheduler.gone.wait()


async def test_closing_in_the_middle_of_an_answer_is_a_connection_error() -> None:
    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send_raw(struct.pack("<QQQ", 100, 1, 84) + b"abc")
        peer.writer.close()

    async with Scheduler(answer).running() as client:
        error = await failure(client)
        assert error.reason is Reason.CONNECT
        assert "closed the connection" in str(error)


async def test_restarted_scheduler_is_reached_over_a_new_connection() -> None:
    first, second = Scheduler(echo), Scheduler(echo)
    server = await asyncio.start_server(first._serve, "127.0.0.1", 0)
    port = second.port = server.sockets[0].getsockname()[1]
    client = RpcClient(target(port))
    await asyncio.gather(client.call("identity"), client.call("identity"))
    server.close()
    for peer in first.peers:
        peer.writer.transport.abort()
    async with second.running():
        assert await client.call("identity") == {"you": "identity", "topic": None}
        assert second.connections == 1
        await client.close()


@pytest.mark.parametrize("greeting", ["hello", [], {"status": "OK"}])
async def test_strange_greeting_is_a_protocol_error(greeting: object) -> None:
    async with Scheduler(echo, greeting).running() as client:
        error = await failure(client)
        assert error.reason is Reason.PROTOCOL
        assert "greet" in str(error)


async def test_older_greeting_is_understood() -> None:
    async with Scheduler(echo, {"compression": "lz4", "python": (3, 8), "pickle-protocol": 4}).running() as client:
        assert (await client.call("identity"))["you"] == "identity"


async def test_web_server_is_told_apart() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = RpcClient(target(server.sockets[0].getsockname()[1]))
    error = await failure(client)
    assert (error.reason, "8786" in str(error)) == (Reason.PROTOCOL, True)
    await client.close()
    server.close()


async def test_blocked_operation_is_not_asked_again_for_ten_minutes() -> None:
    text = "ValueError(\"The 'events' handler has been explicitly disallowed in Scheduler\")"

    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send({"status": "uncaught-error", "exception_text": text})

    scheduler = Scheduler(answer)
    clock = Clock(0.0)
    async with scheduler.running():
        client = RpcClient(target(scheduler.port), monotonic=clock)
        for _ in range(3):
            error = await failure(client, "events", topic="all")
            assert error.reason is Reason.FORBIDDEN
            assert str(error).count("scheduler tcp") == 1
        assert len(scheduler.asked) == 1
        clock.now = REFUSAL_SECONDS + 1
        await failure(client, "events", topic="all")
        assert len(scheduler.asked) == 2
        await client.close()


async def test_failed_operation_keeps_the_connection() -> None:
    async def answer(peer: Peer, message: dict[str, Any]) -> None:
        await peer.send({"status": "uncaught-error", "exception": {"__Pickled__": 1}, "exception_text": "KeyError(1)"})

    scheduler = Scheduler(answer)
    async with scheduler.running() as client:
        for _ in range(2):
            assert (await failure(client)).reason is Reason.SERVER_ERROR
    assert scheduler.connections == 1


async def test_nothing_is_opened_after_close() -> None:
    scheduler = Scheduler(echo)
    async with scheduler.running() as client:
        await client.call("identity")
        await client.close()
        await scheduler.gone.wait()
        assert (await failure(client)).reason is Reason.INTERNAL
    assert scheduler.connections == 1
