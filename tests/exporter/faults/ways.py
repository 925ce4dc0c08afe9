"""The ways in which a system fails, and what each looks like at each of the systems.

`WAYS` is the list; `MATRIX[system]` says what the exporter must make of each. The form differs: what is a body of JSON
for HTTP is a msgpack frame for a Dask scheduler, and a status is a web server where a scheduler should be.
"""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from exporter.errors import Reason
from tests.exporter.faults.servers import (
    GREETING,
    Reply,
    framed,
    http,
    js,
    message,
    never_accepting,
    scheduler,
    web,
)  # fmt: skip
from tests.exporter.faults.systems import Dask, Ollama, OpenWebUI

WAYS = (
    *("refused", "unknown_name", "connect_stall", "read_stall", "drip"),
    *("401", "403", "404", "429", "500", "503"),
    *("truncated", "not_json", "bad_utf8", "huge", "bomb", "deep"),
    *("wrong_types", "not_a_number", "absurd_numbers", "redirect"),
)
# Of a scheduler's RPC besides.
RPC_WAYS = (
    *("half_a_frame", "eight_gib", "hangs_up_on_greeting", "strange_greeting", "no_frames"),
    *("slow_answer", "older_greeting", "dies_between_answers"),
)
HEAVY = ("huge", "bomb", "deep", "eight_gib")  # what they cost in memory is measured, one after the other
MIB = 1 << 20
HUGE = 100 * MIB

NOWHERE = "no-such-host.invalid"
Place = Callable[[], AbstractAsyncContextManager[str]]  # gives host:port


@dataclass(frozen=True)
class Case:
    """One way at one system: where it is to be found, and what the exporter must say."""

    place: Place
    reason: Reason | None  # None: every part answers
    up: bool = False
    forbidden: str = r" (NaN|[+-]Inf)$"  # what no line of the answer may match


def _http_place(answer: Callable[[str], Reply]) -> Place:
    @asynccontextmanager
    async def place() -> Any:
        async with web(answer) as hits:
            yield f"127.0.0.1:{hits.port}"

    return place


def _rpc_place(answer: Callable[[str], Reply], greeting: Reply | None = None) -> Place:
    @asynccontextmanager
    async def place() -> Any:
        async with scheduler(answer, greeting) as hits:
            yield f"127.0.0.1:{hits.port}"

    return place


def _always(reply: Reply) -> Callable[[str], Reply]:
    return lambda _: reply


@asynccontextmanager
async def _refused() -> Any:
    yield "127.0.0.1:1"


@asynccontextmanager
async def _unknown_name() -> Any:
    yield f"{NOWHERE}:8786"


@asynccontextmanager
async def _connect_stall() -> Any:
    with ExitStack() as stack:
        yield f"127.0.0.1:{stack.enter_context(never_accepting())}"


async def stall(_writer: asyncio.StreamWriter) -> None:
    """Say nothing for as long as the other side likes to wait."""
    await asyncio.Event().wait()


def drip(whole: bytes) -> Reply:
    """`whole`, a byte a second."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        for byte in whole:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(1)

    return reply


def half(whole: bytes, then: Reply | None = None) -> Reply:
    """The first half of `whole`; then what is given, or the end."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(whole[: len(whole) // 2])
        await writer.drain()
        if callable(then):
            await then(writer)
        else:
            writer.close()

    return reply


def pause_in(whole: bytes, seconds: float) -> Reply:
    """`whole` with a pause in its middle."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(whole[: len(whole) // 2])
        await writer.drain()
        await asyncio.sleep(seconds)
        writer.write(whole[len(whole) // 2 :])

    return reply


def flood(head: bytes, piece: bytes) -> Reply:
    """`head` and a hundred MiB in pieces, unless the other side has had enough."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(HUGE // MIB):
            writer.write(piece)
            await writer.drain()

    return reply


CHUNKED = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
HUGE_BODY = flood(CHUNKED, b"%x\r\n" % MIB + b" " * MIB + b"\r\n")
BOMB = zlib.compress(b" " * HUGE, 9, wbits=31)
DEEP = b"[" * 10_000 + b"]" * 10_000
WRONG = {
    "version": 7, "models": {"a": 1}, "status": "yes", "data": 5, "features": [], "users": None, "tasks": "none",
    "entries": 1.5, "detail": {}, "total_chats": [],
}  # fmt: skip
NONSENSE = (math.nan, math.inf, -math.inf)
ABSURD = (-1.0, math.inf, -(10**30), -math.inf)  # JSON has no infinities, but 1e999 is JSON and reads as one


def _with_numbers(value: Any, numbers: Iterator[float]) -> Any:
    """`value` with each of its numbers replaced by the next one."""
    if isinstance(value, dict):
        return {key: _with_numbers(item, numbers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_numbers(item, numbers) for item in value]
    return value if isinstance(value, bool) or not isinstance(value, int | float) else next(numbers)


def _nonsense(body: Any) -> bytes:
    return http(json.dumps(_with_numbers(body, cycle(NONSENSE))).encode())


def _absurd(body: Any) -> bytes:
    return http(json.dumps(_with_numbers(body, cycle(ABSURD))).replace("Infinity", "1e999").encode())


def _over_http(healthy: Callable[[], Ollama | OpenWebUI], canary: str) -> dict[str, Case]:
    """The ways at a system that is asked over HTTP."""

    def everywhere(reply: Reply, reason: Reason, *, up: bool = False) -> Case:
        return Case(_http_place(_always(reply)), reason, up)

    def spoilt(make: Callable[[Any], bytes]) -> Place:
        system = healthy()
        return _http_place(lambda path: make(system.bodies[path]) if path in system.bodies else system.answer(path))

    whole = js({"version": "1"})
    return {
        "refused": Case(_refused, Reason.REFUSED),
        "unknown_name": Case(_unknown_name, Reason.DNS),
        "connect_stall": Case(_connect_stall, Reason.TIMEOUT),
        "read_stall": everywhere(stall, Reason.TIMEOUT),
        "drip": everywhere(drip(whole), Reason.TIMEOUT),
        "404": everywhere(js({"detail": "Not Found"}, 404), Reason.NOT_FOUND),
        "429": everywhere(js({"detail": "slow down"}, 429), Reason.RATE_LIMITED),
        "500": everywhere(js({"detail": "oops"}, 500), Reason.SERVER_ERROR),
        "503": everywhere(http(b"try later", "text/plain", 503), Reason.SERVER_ERROR),
        "truncated": everywhere(half(http(b"{}" + b" " * 200)), Reason.PROTOCOL),
        "not_json": everywhere(http(b"<!doctype html><p>hello", "text/html"), Reason.NOT_JSON),
        "bad_utf8": everywhere(http(b'{"version": "\xff\xfe\xc0"}'), Reason.NOT_JSON),
        "huge": everywhere(HUGE_BODY, Reason.TOO_LARGE),
        "bomb": everywhere(http(BOMB, Content_Encoding="gzip"), Reason.PROTOCOL),
        "deep": everywhere(http(DEEP), Reason.NOT_JSON),
        "wrong_types": everywhere(js(WRONG), Reason.SHAPE),
        "not_a_number": Case(spoilt(_nonsense), Reason.NOT_JSON, up=True),  # the answers without numbers are good
        "absurd_numbers": Case(spoilt(_absurd), None, up=True, forbidden=r" ([+-]Inf|NaN)$|_(bytes|tokens)\S* -"),
        "redirect": everywhere(http(b"", status=302, Location=f"http://{canary}/stolen"), Reason.REDIRECT),
    }


def ollama(canary: str) -> dict[str, Case]:
    """Ollama behind a proxy that refuses us is alive."""
    refusals = {
        "401": Case(_http_place(_always(js({"error": "no"}, 401))), Reason.UNAUTHORIZED, up=True),
        "403": Case(_http_place(_always(js({"error": "no"}, 403))), Reason.FORBIDDEN, up=True),
    }
    return _over_http(Ollama, canary) | refusals


def openwebui(canary: str) -> dict[str, Case]:
    """Open WebUI that refuses the key has its public part still; its own sentences, from utils/auth.py."""

    def refusing(status: int, sentence: str) -> Place:
        system = OpenWebUI()
        public = ("/health", "/ready", "/api/version", "/api/config")
        return _http_place(lambda path: system.answer(path) if path in public else js({"detail": sentence}, status))

    refusals = {
        "401": Case(refusing(401, "Your session has expired or the token is invalid."), Reason.UNAUTHORIZED, up=True),
        "403": Case(refusing(403, "Use of API key is not enabled in the environment."), Reason.FORBIDDEN, up=True),
    }
    return _over_http(OpenWebUI, canary) | refusals


def dask(canary: str) -> dict[str, Case]:
    """The ways at a scheduler's RPC, and those that only an RPC has."""

    def everywhere(reply: Reply, reason: Reason) -> Case:
        return Case(_rpc_place(_always(reply)), reason)

    def web_server(status: int, **headers: str) -> Case:
        return Case(_rpc_place(_always(b""), http(b"no", "text/plain", status, **headers)), Reason.PROTOCOL)

    def spoilt(numbers: tuple[float, ...]) -> Place:
        system = Dask()
        return _rpc_place(lambda name: message(_with_numbers(system.replies.get(name, ()), cycle(numbers))))

    def patient(seconds: float) -> Place:
        system = Dask()
        return _rpc_place(lambda name: pause_in(message(system.replies.get(name, ())), seconds))

    healthy = Dask()
    identity = message(healthy.replies["identity"])
    older = message({"compression": "lz4", "python": (3, 8), "pickle-protocol": 4})
    statuses = {status: web_server(int(status)) for status in ("401", "403", "404", "429", "500", "503")}
    return statuses | {
        "refused": Case(_refused, Reason.REFUSED),
        "unknown_name": Case(_unknown_name, Reason.DNS),
        "connect_stall": Case(_connect_stall, Reason.TIMEOUT),
        "read_stall": everywhere(stall, Reason.TIMEOUT),
        "drip": everywhere(drip(identity), Reason.TIMEOUT),
        "truncated": everywhere(half(identity), Reason.CONNECT),
        "not_json": everywhere(framed(b"\x80\x04\x95cposix\nsystem\n"), Reason.PROTOCOL),
        "bad_utf8": everywhere(framed(b"\x81\xa2id\xa3\xff\xfe\xc0"), Reason.PROTOCOL),
        "huge": everywhere(flood(framed(b"", HUGE), b"\xc0" * MIB), Reason.TOO_LARGE),
        "bomb": everywhere(framed(BOMB), Reason.PROTOCOL),  # compressed though both sides agreed not to
        "deep": everywhere(framed(b"\x91" * 10_000 + b"\xc0"), Reason.PROTOCOL),
        "wrong_types": everywhere(message(WRONG), Reason.SHAPE),
        "not_a_number": Case(spoilt(NONSENSE), Reason.SHAPE, up=True),  # events at no time are no events
        "absurd_numbers": Case(spoilt((-1, -(10**15))), None, up=True, forbidden=r"^dask\S* -"),
        "redirect": web_server(302, Location=f"http://{canary}/stolen"),
        "half_a_frame": everywhere(half(identity, then=stall), Reason.TIMEOUT),
        "eight_gib": everywhere(framed(b"x" * MIB, 8 << 30), Reason.TOO_LARGE),
        "hangs_up_on_greeting": Case(_rpc_place(_always(b""), half(message(GREETING))), Reason.CONNECT),
        "strange_greeting": Case(_rpc_place(_always(b""), message("hello")), Reason.PROTOCOL),
        "no_frames": everywhere((8).to_bytes(8, "little") + bytes(8), Reason.PROTOCOL),
        "slow_answer": Case(patient(0.1), None, up=True),
        "older_greeting": Case(_rpc_place(healthy.answer, older), None, up=True),
        "dies_between_answers": Case(
            _rpc_place(lambda name: identity if name == "identity" else half(identity)), Reason.CONNECT, up=True
        ),
    }


def dask_web(canary: str) -> dict[str, Case]:
    """The ways at the web server of a scheduler whose RPC is well: the cluster is none the worse for it."""
    cases = _over_http(Ollama, canary)
    refusals = {status: Case(_http_place(_always(js({}, int(status)))), None) for status in ("401", "403")}
    return {way: Case(case.place, None, up=True) for way, case in (cases | refusals).items()}


MATRIX: dict[str, Callable[[str], dict[str, Case]]] = {"dask": dask, "ollama": ollama, "openwebui": openwebui}
# A system's ways besides WAYS.
MORE = {"dask": RPC_WAYS}
