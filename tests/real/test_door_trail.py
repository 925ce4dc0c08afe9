"""The audit trail of the door: what is in it, who, and what nobody can put there. Needs nginx."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from compose.audit.cli import audit
from tests.compose.running import until
from tests.real.test_door_http2 import connection, frame, headers
from tests.standins import nginx_server
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
_HEADERS, _WHOLE, _RESET = 1, 5, 3
SESSION = "grafana_session=good"
LOOKED_UP = "/api/datasources/uid/p/resources"


class Grafana(BaseHTTPRequestHandler):
    """Asks for a sign-in, as the real one does, and says who it was of whoever has a session."""

    protocol_version = "HTTP/1.1"
    done: tuple[str, ...] = ()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        time.sleep(0.4 if "slow" in self.path else 0)
        known = self.headers.get("Cookie") == SESSION
        let_in = b"right" in body or "code=right" in self.path
        Grafana.done += (self.path,)
        if "dies" in self.path:
            self.close_connection = True
            return
        refused = 403 if "forbidden" in self.path else 404 if "nowhere" in self.path else 0
        self.send_response(refused or (302 if let_in else 200 if known else 401))
        if known:
            self.send_header("X-Grafana-Identity-Id", "user:7")
        if let_in:
            self.send_header("Set-Cookie", "grafana_session=fresh; HttpOnly")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 -- their names are http.server's

    def log_message(self, *_: Any) -> None:
        """Nothing is said."""


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Grafana)
    server.daemon_threads = False  # its end waits for theirs, and no connection is left open
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with nginx_server.running(f"127.0.0.1:{server.server_port}", trusted_proxies=["127.0.0.0/8"]) as made:
        yield made
    server.shutdown()
    server.server_close()


def basic(name: bytes) -> str:
    return "Basic " + base64.b64encode(name + b":x").decode()


def trail(door: Door, known: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """What was kept besides the requests `known`, once everything until now is written."""
    mark = f"/api/mark-{time.monotonic_ns()}"
    with door.client(headers={"Cookie": SESSION, "X-Forwarded-For": "203.0.113.250"}) as client:
        client.post(mark)
    until(lambda: mark in door.audit_log.read_text(), "the log to be written")
    return [line for line in door.kept() if line["request"] not in known and "mark-" not in line["path"]]


def told(door: Door, known: frozenset[str]) -> list[tuple[str, str, str]]:
    rows = [json.dumps(line) for line in trail(door, known)]
    done = CliRunner().invoke(audit, ["-", "--json"], input="\n".join(rows))
    return [(row["who"], row["did"], row["outcome"]) for row in map(json.loads, done.stdout.splitlines())]


def until_now(door: Door) -> frozenset[str]:
    """The requests that are kept already."""
    return frozenset(line["request"] for line in trail(door))


@pytest.mark.parametrize("host", [DOMAIN, "evil.example"])
def test_plain_http_writes_no_trail_and_little_else(door: Door, host: str) -> None:
    """Who sends it needs not even a handshake."""
    before, logged = until_now(door), door.access_log.stat().st_size
    head = f"Host: {host}\r\nAuthorization: {basic(bytes([1]) * 9000)}\r\nContent-Length: 0\r\n\r\n"
    one = f"DELETE /api/admin/users/9 HTTP/1.1\r\n{head}".encode()
    answers: Counter[bytes] = Counter()
    for _ in range(6):
        found = nginx_server.raw(door, one * 30, encrypted=False, rest=0.3)
        answers.update(line for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 "))
    if host == DOMAIN:
        assert answers[b"HTTP/1.1 429 "] + answers[b"HTTP/1.1 429 Too Many Requests"] > 50, answers
    assert trail(door, before) == []
    assert door.access_log.stat().st_size - logged < 100_000


def test_what_strangers_may_not_do_is_no_change(door: Door) -> None:
    before = until_now(door)
    for number in range(3):
        with door.client(headers={"X-Forwarded-For": f"203.0.113.{number}"}) as stranger:
            assert stranger.post("/api/annotations", json={}).status_code == 401
            assert stranger.delete("/api/teams/1", headers={"Cookie": "grafana_session=x"}).status_code == 401
            stranger.post("/d/x")
            assert stranger.post("/metrics").status_code == 404
            assert stranger.get("/logout").status_code in (302, 401)
    assert trail(door, before) == []
    with door.client(headers={"Authorization": basic(b"a" * 5000), "X-Forwarded-For": "203.0.113.9"}) as guesser:
        guesser.get("/api/search")
        guesser.get("/d/x")
    assert told(door, before) == [
        (f'login "{"a" * 100}"', f"came with a wrong password to {path}", "refused") for path in ("/api/search", "/d/x")
    ]


def test_what_strangers_try_never_pushes_out_what_was_done(door: Door) -> None:
    """It stands in a file of its own, whatever they send."""
    until_now(door)
    with door.client(headers={"X-Forwarded-For": "203.0.113.10"}) as stranger:
        stranger.post("/login", json={"user": "ana", "password": "wrong"})
        stranger.get("/login/generic_oauth?code=x")
        stranger.post("/api/user/password/send-reset-email", json={})
        stranger.get("/api/search", headers={"Authorization": basic(b"ana")})
        stranger.post("/login", json={"user": "ana", "password": "right"})
        stranger.head("/login/generic_oauth?code=right")
        stranger.post("/api/user/password/reset", json={"code": "right"})
    until_now(door)
    deeds = [json.loads(line) for line in door.audit_log.read_text().splitlines() if "203.0.113.10" in line]
    assert [(line["method"], line["path"], line["signed_in"]) for line in deeds] == [
        ("POST", "/login", "yes"), ("HEAD", "/login/generic_oauth", "yes"), ("POST", "/api/user/password/reset", "yes"),
    ]  # fmt: skip
    attempts = [line for line in door.attempts_log.read_text().splitlines() if "203.0.113.10" in line]
    assert len(attempts) >= 2
    assert all(json.loads(line)["identity"] == "" for line in attempts)


@pytest.mark.parametrize("path", ["/login", "/login/", "/%6cogin"])
def test_every_way_to_sign_in_is_limited_and_told(door: Door, path: str) -> None:
    before = until_now(door)
    with door.client(headers={"X-Forwarded-For": f"203.0.113.{100 + len(path)}"}) as client:
        client.post(path, json={"user": "ana", "password": "wrong"})
        client.post(path, json={"user": "ana", "password": "right"})
        found = Counter(client.post(path, content=b"x").status_code for _ in range(20))
    assert found[429] >= 10, found
    story = told(door, before)
    assert story.count(('login "ana"', "tried to sign in", "refused")) == 1
    assert story.count(('login "ana"', "signed in", "done")) == 1


def test_who_may_not_do_what_they_try_pushes_out_nothing_either(door: Door) -> None:
    """Whoever has signed in can be refused as often as they like."""
    before, length = until_now(door), door.audit_log.stat().st_size
    with door.client(headers={"Cookie": SESSION}) as client:
        client.post("/api/folders/forbidden")
    until(lambda: "/api/folders/forbidden" in door.attempts_log.read_text(), "the log to be written")
    assert "forbidden" not in door.audit_log.read_text()[length:]
    assert told(door, before) == [("user:7", "changed folder forbidden", "refused")]


def test_a_change_is_told_though_no_answer_came(door: Door) -> None:
    """Grafana may have done it. What people see is nginx's own page, which is no change."""
    before = until_now(door)
    with door.client(headers={"Cookie": SESSION}) as client:
        assert client.post("/api/admin/users/dies").status_code == 502
    assert "/api/admin/users/dies" in Grafana.done
    assert told(door, before) == [("unknown", "POST /api/admin/users/dies", "unknown")]


def test_a_change_that_two_grafanas_were_asked_for_is_told(door: Door) -> None:
    """The first had done it when it died; the second knows of nothing."""

    class Dead(Grafana):
        def _answer(self) -> None:
            self.close_connection = True

        do_GET = do_DELETE = _answer  # noqa: N815 -- their names are http.server's

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Dead, Grafana)]
    for server in servers:
        server.daemon_threads = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
    addresses = [f"127.0.0.1:{server.server_port}" for server in servers]
    with nginx_server.running(*addresses, trusted_proxies=["127.0.0.0/8"]) as two:
        for number in range(1, 9):  # one person in two comes to the first one
            with two.client(headers={"Cookie": SESSION, "X-Forwarded-For": f"203.0.113.{number}"}) as client:
                client.delete("/api/folders/nowhere")
        until(lambda: any(", " in line["upstream_status"] for line in two.kept()), "a change that both were asked for")
        twice = [line for line in two.kept() if ", " in line["upstream_status"]]
        logged = two.audit_log.read_text()
        assert all(line["request"] in logged for line in twice), "it may have been done"
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_who_hangs_up_is_told_all_the_same(door: Door, how: str) -> None:
    before, path = until_now(door), f"/api/admin/users/slow-{how}"
    asked = headers(path.encode(), (b":method", b"DELETE"), (b"cookie", SESSION.encode()))
    asked = asked[asked.index(b"\0\x05:path") :]  # one method
    with connection(door) as made:
        made.sendall(frame(_HEADERS, _WHOLE, 1, asked))
        time.sleep(0.15)  # Grafana is at work
        if how == "reset":
            made.sendall(frame(_RESET, 0, 1, struct.pack(">I", 8)))
            until(lambda: path in Grafana.done, "Grafana to have done it")
    until(lambda: path in door.audit_log.read_text(), "the log to be written")
    assert told(door, before) == [("user:7", f"removed user slow-{how}", "done")]


def test_who_sends_an_alert_of_their_own_is_told(door: Door) -> None:
    """It wakes people like any other, and no page of Grafana's does that."""
    before = until_now(door)
    with door.client(headers={"Cookie": SESSION}) as client:
        client.post("/api/alertmanager/am/api/v2/alerts", json=[])
    assert told(door, before) == [("user:7", "sent alerts of their own to am", "done")]


def test_a_link_that_changes_something_is_told_like_any_change(door: Door) -> None:
    before = until_now(door)
    with door.client(headers={"Cookie": SESSION}) as client:
        client.get("/user/email/update?code=x")
    assert told(door, before) == [("user:7", "confirmed a new address", "done")]


def test_everybody_in_one_network_of_ipv6_is_one(door: Door) -> None:
    def statuses(addresses: list[str]) -> Counter[int]:
        with door.client() as client:
            asked = (client.post("/login", headers={"X-Forwarded-For": address}) for address in addresses)
            return Counter(answer.status_code for answer in asked)

    assert statuses([f"2001:db8:1:2::{number:x}" for number in range(1, 31)])[429] >= 15
    assert statuses([f"2001:db8:1:{number:x}::1" for number in range(16, 46)])[429] == 0
    assert statuses([f"::ffff:198.51.100.{number}" for number in range(1, 31)])[429] == 0


@pytest.mark.parametrize(
    "path",
    ["/api/datasources/proxy/uid/x/-/reload", "/api/datasources/proxy/1/loki/api/v1/push", "/api/DATASOURCES/proxy",
     f"{LOOKED_UP}/-/reload", f"{LOOKED_UP}/api/v1/admin/tsdb/delete_series", f"{LOOKED_UP}/debug/pprof/heap",
     f"{LOOKED_UP}/loki/api/v1/delete", f"{LOOKED_UP}/api/v1/status/config", "/api/datasources/1/resources/-/quit",
     f"{LOOKED_UP}/label%3f/config", LOOKED_UP],
)  # fmt: skip
def test_nobody_reaches_what_stands_behind_a_data_source(door: Door, path: str) -> None:
    with door.client(headers={"Cookie": SESSION}) as client:
        assert {client.request(method, path).status_code for method in ("GET", "POST", "DELETE")} == {404}


@pytest.mark.parametrize("path", ["api/v1/label/host/values", "api/v1/series", "labels", "label/service/values"])
def test_what_pages_look_up_they_find(door: Door, path: str) -> None:
    with door.client(headers={"Cookie": SESSION}) as client:
        assert client.get(f"{LOOKED_UP}/{path}").status_code == 200


def test_a_certificate_authority_is_not_turned_away(door: Door) -> None:
    """It asks five times from as many places for one certificate."""
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", door.http)) as plain:
            plain.sendall(f"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
            assert b"429" not in plain.recv(100)
