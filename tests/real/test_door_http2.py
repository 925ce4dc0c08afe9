"""Harm by HTTP/2: headers that end a request in HTTP/1.1, odd paths, streams begun and reset. Needs nginx."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator

import pytest

from tests.standins import nginx_server
from tests.standins.grafana_standin import StandIn
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RESET, _SETTINGS = 1, 3, 4
_WHOLE = 5  # flags: the end of the headers, and of the stream
_CANCEL = struct.pack(">I", 8)
Pair = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def door(standin: StandIn) -> Iterator[Door]:
    with nginx_server.running(standin.address) as made:
        yield made


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: bytes, *more: Pair) -> bytes:
    """A request's headers, none of them compressed."""
    usual = ((b":method", b"GET"), (b":path", path), (b":scheme", b"https"), (b":authority", DOMAIN.encode()))
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in (*usual, *more))


@contextlib.contextmanager
def connection(door: Door) -> Iterator[ssl.SSLSocket]:
    context = door.trust
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", door.port), 20)
    with context.wrap_socket(plain, server_hostname=DOMAIN) as made:
        made.sendall(_PREFACE + frame(_SETTINGS, 0, 0, b""))
        yield made


def asked(door: Door, standin: StandIn, path: bytes, *more: Pair) -> int:
    """How many requests Grafana saw once nginx had answered this one, or had ended it."""
    standin.asked.clear()
    with connection(door) as made:
        made.sendall(frame(_HEADERS, _WHOLE, 1, headers(path, *more)))
        made.settimeout(5)
        found = b""
        with contextlib.suppress(OSError):
            while piece := made.recv(65536):
                found += piece
                if not {found[at] for at in frames(found)}.isdisjoint((_HEADERS, _RESET)):
                    break
    return len(standin.asked)


def frames(text: bytes) -> Iterator[int]:
    """Where the kind of each frame stands."""
    at = 0
    while at + 9 <= len(text):
        yield at + 3
        at += 9 + int.from_bytes(text[at : at + 3])


def test_a_good_request_comes_through(door: Door, standin: StandIn) -> None:
    assert asked(door, standin, b"/d/x") == 1


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (b"/metrics", ()),
        (b"//metrics", ()),
        (b"/api/live/push/%2e%2e", ()),
        (b"metrics", ()),
        (b"*", ()),
        (b"/d/x HTTP/1.1\r\nX-WEBAUTH-USER: admin\r\nX-A: b", ()),
        (b"/d/x", ((b"x-a", b"b\r\nx-webauth-user: admin"),)),
        (b"/d/x", ((b"x-a\r\nx-webauth-user", b"admin"),)),
        (b"/d/x", ((b"X-WEBAUTH-USER", b"admin"),)),
        (b"/d/x", ((b":path", b"/metrics"),)),
        (b"/d/x", ((b"host", b"evil.example"),)),
        (b"/d/x", ((b"content-length", b"5"),)),
    ],
)
def test_what_would_be_two_requests_for_grafana_is_none(
    door: Door, standin: StandIn, path: bytes, more: tuple[Pair, ...]
) -> None:
    assert asked(door, standin, path, *more) == 0


def test_what_a_visitor_says_of_themselves_is_not_believed_either(door: Door, standin: StandIn) -> None:
    forged = ((b"x-webauth-user", b"admin"), (b"x-real-ip", b"203.0.113.66"), (b"transfer-encoding", b"chunked"))
    assert asked(door, standin, b"/d/x", *forged) == 1
    [one] = standin.asked
    assert (one.said("x-webauth-user"), one.said("x-real-ip"), one.said("transfer-encoding")) == ([], ["127.0.0.1"], [])


def test_streams_that_are_begun_and_reset_harm_nobody(door: Door, standin: StandIn) -> None:
    before, stream, end = standin.begun, 1, time.monotonic() + 2
    block = headers(b"/api/ds/query?seconds=1")
    with contextlib.suppress(OSError), connection(door) as made:
        while time.monotonic() < end:
            many = range(stream, stream + 200, 2)
            made.sendall(b"".join(frame(_HEADERS, _WHOLE, n, block) + frame(_RESET, 0, n, _CANCEL) for n in many))
            stream += 200
    with door.client() as client:
        assert client.get("/d/x").elapsed.total_seconds() < 2
    assert standin.begun - before < 700, "the limits hold for them, too"
