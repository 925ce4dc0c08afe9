"""What somebody tries who means harm: forged headers, odd paths, requests in requests, and patience. Needs nginx."""

from __future__ import annotations

import contextlib
import posixpath
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import unquote

import pytest

from tests.compose.running import until
from tests.standins import nginx_server
from tests.standins.grafana_standin import StandIn
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
HEAD = f"Host: {DOMAIN}\r\nConnection: close\r\n"
CLOSED = (
    "/metrics", "/debug/pprof/heap", "/render/d/x", "/api/live/push/x", "/api/live/pipeline/push/x",
    "/swagger", "/openapi/v3", "/version",
    "/api/dashboard/snapshots", "/api/snapshots", "/api/snapshots-delete/k",
    "/dashboard/snapshot/key", "/apis/dashboard.grafana.app/v0alpha1/namespaces/default/snapshots", "/api/public/x",
    "/api/gnet/plugins", "/api/plugins/x/install", "/api/plugin-proxy/x", "/api/admin/provisioning/dashboards/reload",
    "/api/admin/encryption/rotate-data-keys", "/api/admin/settings", "/public-dashboards/token",
)  # fmt: skip


@pytest.fixture(scope="module")
def door(standin: StandIn) -> Iterator[Door]:
    with nginx_server.running(standin.address, trusted_proxies=["192.0.2.0/24"]) as made:
        yield made


@pytest.fixture
def asked(standin: StandIn) -> StandIn:
    standin.asked.clear()
    return standin


def get(door: Door, path: str) -> bytes:
    return nginx_server.raw(door, f"GET {path} HTTP/1.1\r\n{HEAD}\r\n".encode())


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", CLOSED)
def test_closed_is_closed(door: Door, asked: StandIn, path: str, method: str) -> None:
    with door.client() as client:
        answer = client.request(method, path)
    assert (answer.status_code, answer.text) == (404, "There is nothing here.\n")
    assert not asked.asked


def disguises(path: str) -> Iterator[str]:
    first, rest = path[1], path[2:]
    yield from (f"/{path}", f"//{path}", f"/.{path}", f"/x/..{path}", f"/public/..{path}", f"/public/build/../..{path}")
    yield from (f"/%2e{path}", f"/public/%2e%2e{path}", f"/public/..%2f{path[1:]}", f"/public%2f..{path}")
    yield from (f"/public/..;{path}", f"/;{path}", f"{path};x", f"/..;/public/..{path}", f"/\\..{path}", f"\\{path}")
    yield from (f"/%{ord(first):x}{rest}", f"/%25{ord(first):x}{rest}", f"/%2f{path[1:]}", f"/%5c..{path}")
    yield from (path.upper(), path.title(), f"{path}/", f"{path}%00", f"{path}%20/..", f"{path}/.", f"{path}/%2e%2e/x")
    yield from (f"{path}?a=/login", f"{path}#x", f"{path}/..;/login", f"/login/..{path}", f"/api/..{path}")
    yield from (f"https://{DOMAIN}{path}", f"/login%3f/..{path}", path.replace("/", "/%2e/"), path.replace("/", "%2f"))
    yield from (path.replace("/", "//"), path + "%09", "/public/build/%252e%252e/%252e%252e" + path)


@pytest.mark.parametrize("path", ["/metrics", "/api/live/push/x", "/api/admin/settings", "/render/d/x"])
def test_a_disguised_path_reaches_nothing_closed(door: Door, asked: StandIn, path: str) -> None:
    for disguise in disguises(path):
        get(door, disguise)
    closed = path.removesuffix("/x")
    assert not [one for one in asked.paths() if as_read(one).startswith(closed)]


def as_read(path: str) -> str:
    """A path as the most lenient of readers takes it."""
    return posixpath.normpath(re.sub("[/\\\\]+", "/", unquote(path.partition("?")[0]))).lower()


def test_a_path_that_two_readers_read_differently_is_passed_to_none(door: Door, asked: StandIn) -> None:
    """nginx would take these for an open path, and Grafana, which gets them as they came, for a closed one."""
    for path in (
        "/api/live/push/%2e%2e",
        "/api/live/push/..",
        "/render/%2e%2e/login",
        "/metrics/..;/",
        "/metrics/../x",
    ):
        assert get(door, path).startswith(b"HTTP/1.1 400"), path
    assert get(door, "/login\xe9").startswith(b"HTTP/1.1 400")
    assert get(door, "/d/x HTTP/1.1\r\nX-WEBAUTH-USER : admin\r\nX-A: b").startswith(b"HTTP/1.1 400")
    assert not asked.asked


def test_what_a_visitor_says_of_themselves_is_not_believed(door: Door, asked: StandIn) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.66", "X-Real-IP": "203.0.113.66", "Forwarded": "for=203.0.113.66",
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher", "X-Forwarded-Port": "1", "Via": "evil",
        "X-WEBAUTH-USER": "admin", "x-webauth-role": "Admin", "X-Original-URL": "/metrics", "X-Rewrite-URL": "/metrics",
        "X-HTTP-Method-Override": "DELETE", "Proxy": "http://evil.example", "X-Forwarded-User": "admin",
        "X-Forwarded-Prefix": "/evil", "X-Request-Id": "evil", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk",
    }  # fmt: skip
    for path in ("/d/x", "/login", "/api/search", "/api/ds/query", "/api/live/ws", "/public/new.js"):
        text = "".join(f"{name}: {value}\r\n" for name, value in forged.items())
        text += "X_WEBAUTH_USER: admin\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        nginx_server.raw(door, f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n{text}\r\n".encode(), rest=0.5)
        one = asked.asked[-1]
        assert one.path == path
        seen = {name.lower(): value for name, value in one.headers}
        assert not [name for name in seen if "webauth" in name.replace("_", "-")]
        assert not [
            value for name, value in seen.items() if name != "http2-settings" and ("evil" in value or "113.66" in value)
        ]
        assert not {"forwarded", "via", "proxy", "x-original-url", "x-rewrite-url", "upgrade"} & set(seen), path
        assert one.said("host") == [f"{DOMAIN}:{door.port}"]
        if path != "/public/new.js":
            assert (one.said("x-forwarded-for"), one.said("x-real-ip")) == (["127.0.0.1"], ["127.0.0.1"])
            assert (one.said("x-forwarded-proto"), one.said("x-forwarded-host")) == (["https"], [one.said("host")[0]])


def test_only_a_trusted_proxy_names_the_visitor(standin: StandIn) -> None:
    with nginx_server.running(standin.address, trusted_proxies=["127.0.0.1/32"]) as behind, behind.client() as client:
        client.get("/d/x", headers={"X-Forwarded-For": "10.9.9.9, 203.0.113.7, 127.0.0.1"})
        assert standin.asked[-1].said("x-real-ip") == ["203.0.113.7"], "the last that is not a trusted proxy"
        until(lambda: '"address":"203.0.113.7"' in behind.access_log.read_text(), "the log to be written")


INSIDE = f"GET /smuggled HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n"
BODY = f"0\r\n\r\n{INSIDE}"


@pytest.mark.parametrize(
    "framing",
    [
        f"Content-Length: {len(BODY)}\r\nTransfer-Encoding: chunked",
        f"Transfer-Encoding: chunked\r\nContent-Length: {len(BODY)}",
        f"Content-Length: 4\r\nContent-Length: {len(BODY)}",
        f"Content-Length: {len(BODY)}, 4",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5\x0b",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding:\x0bchunked",
    ],
)
def test_two_ways_to_end_a_request_are_one_too_many(door: Door, asked: StandIn, framing: str) -> None:
    text = f"POST /api/ds/query HTTP/1.1\r\nHost: {DOMAIN}\r\n{framing}\r\n\r\n{BODY}"
    answer = nginx_server.raw(door, text.encode(), rest=0.5)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert answer.count(b"HTTP/1.1 ") == 1, "and nothing after it"
    assert not asked.asked


@pytest.mark.parametrize("chunk", ["zz\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n", "fffffffffffffffff\r\n",
                                   "5\r\nhelloX\r\n0\r\n\r\n"])  # fmt: skip
def test_a_bad_chunk_ends_it(door: Door, asked: StandIn, chunk: str) -> None:
    head = f"POST /api/ds/query HTTP/1.1\r\nHost: {DOMAIN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    nginx_server.raw(door, (head + chunk + INSIDE).encode())
    assert "/smuggled" not in asked.paths()


def test_too_large_a_body_is_refused_before_it_is_read(door: Door, asked: StandIn) -> None:
    text = f"POST /api/ds/query HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 9000000000\r\n\r\n"
    assert nginx_server.raw(door, text.encode(), rest=0.5).startswith(b"HTTP/1.1 413")
    assert not asked.asked


def test_slow_visitors_hold_up_nobody_and_are_sent_away(door: Door, asked: StandIn) -> None:
    begun, before = time.monotonic(), asked.begun
    with ExitStack() as stack, door.client() as client:
        slow = [stack.enter_context(nginx_server.connect(door)) for _ in range(60)]
        for number, connection in enumerate(slow):
            body = f"POST /api/ds/query HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 1000\r\n\r\nab"
            connection.sendall(body.encode() if number % 2 else f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\nX-A: b".encode())
        plain = [stack.enter_context(socket.create_connection(("127.0.0.1", door.port))) for _ in range(60)]
        for connection in plain:
            connection.sendall(b"\x16\x03")  # the beginning of a handshake
        while time.monotonic() - begun < 9:
            for connection in slow[::2]:
                connection.sendall(b"c")
            assert client.get("/d/x").elapsed.total_seconds() < 2
            time.sleep(0.25)
        for connection in (*slow, *plain):
            connection.settimeout(begun + 25 - time.monotonic())
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while connection.recv(4096):
                    pass
    assert time.monotonic() - begun < 25, "all of them were sent away"
    assert set(asked.paths()) == {"/d/x"}
    assert asked.begun - before == len(asked.asked), "Grafana never saw one of them"
