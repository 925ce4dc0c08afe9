"""The door while it works: several Grafanas, websockets, certificates that change or expire. Needs nginx."""

from __future__ import annotations

import datetime as dt
import os
import signal
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import aiohttp
import httpx
import pytest

from tests.compose.running import until
from tests.ports import free_port
from tests.standins import grafana_standin, nginx_server
from tests.standins.grafana_standin import SCRIPT, StandIn
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@pytest.fixture
def grafanas() -> Iterator[list[StandIn]]:
    with grafana_standin.running("one") as one, grafana_standin.running("two") as two:
        yield [one, two]


@pytest.fixture
def door(grafanas: list[StandIn]) -> Iterator[Door]:
    addresses = [one.address for one in grafanas]
    with nginx_server.running(*addresses, trusted_proxies=["127.0.0.0/8"], logs=True, rum=True) as made:
        yield made


def serial(door: Door) -> str:
    with nginx_server.connect(door) as connection:
        return str(connection.getpeercert()["serialNumber"])  # type: ignore[index]


def expired(door: Door) -> bool:
    try:
        nginx_server.connect(door).close()
    except ssl.SSLCertVerificationError as error:
        return "expired" in str(error)
    return False


def test_who_came_to_one_grafana_comes_back_to_it(door: Door) -> None:
    with door.client() as client:
        found = {
            address: {client.get("/d/x", headers={"X-Forwarded-For": address}).headers["x-which"] for _ in range(3)}
            for address in (f"198.51.100.{number}" for number in range(60))
        }
    assert {len(names) for names in found.values()} == {1}
    shares = Counter(name for names in found.values() for name in names)
    assert set(shares) == {"one", "two"}
    assert min(shares.values()) > 12, f"both have their share: {shares}"


def test_a_grafana_that_is_away_is_not_missed() -> None:
    with grafana_standin.running("there") as there:
        gone = f"127.0.0.1:{free_port()}"
        with (
            nginx_server.running(there.address, gone, trusted_proxies=["127.0.0.0/8"]) as door,
            door.client() as client,
        ):
            for number in range(40):
                address = {"X-Forwarded-For": f"198.51.100.{number}"}
                answers = client.get("/d/x", headers=address), client.post("/api/ds/query", headers=address)
                assert [answer.status_code for answer in answers] == [200, 200]


def test_the_door_opens_though_a_grafana_has_no_address_and_finds_it_when_it_has(grafanas: list[StandIn]) -> None:
    """As of a container that is being replaced, by a name server of our own."""
    one, two = grafanas
    with nginx_server.running(f"localhost:{one.port}", f"elsewhere:{two.port}") as door, door.client() as client:
        assert client.get("/d/x").headers["x-which"] == "one", "the other has no address"
        door.stop()
        known = door.folder / "known"
        known.write_text("")
        asking = door.folder / "getent"
        asking.write_text(f'#!/bin/sh\ngrep -qxF "$2" {known} && echo "127.0.0.1 STREAM $2"\n')
        asking.chmod(0o755)
        door.programs.environment["PATH"] = f"{door.folder}:{os.environ['PATH']}"
        door.start()
        assert client.get("/d/x").status_code == 502, "it is open, and says that nobody is there"
        known.write_text("elsewhere\n")
        until(lambda: client.get("/d/x").headers.get("x-which") == "two", "the second to be found")
        known.write_text("localhost\n")
        until(lambda: client.get("/d/x").headers.get("x-which") == "one", "the first to be found")


def test_without_any_grafana_people_are_told_so_and_static_files_stay() -> None:
    with ExitStack() as only:
        grafana = only.enter_context(grafana_standin.running())
        with nginx_server.running(grafana.address) as door, door.client() as client:
            assert client.get("/public/kept.js").content == SCRIPT
            only.close()
            answer = client.get("/d/x")
            assert (answer.status_code, answer.headers["retry-after"]) == (502, "5")
            assert "tries again" in answer.text
            assert answer.headers["strict-transport-security"]
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert client.get("/public/kept.js").content == SCRIPT


async def test_a_websocket_passes_and_outlives_a_reload(door: Door) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{door.port}/api/live/ws"
        how = {"ssl": door.trust, "server_hostname": DOMAIN, "headers": {"Host": DOMAIN}}
        async with session.ws_connect(url, **how) as socket:  # type: ignore[arg-type]
            await socket.send_str("a")
            assert await socket.receive_str(timeout=5) == "heard a"
            before = serial(door)
            door.new_certificate()
            until(lambda: serial(door) != before, "the new certificate")
            await socket.send_str("b")
            assert await socket.receive_str(timeout=5) == "heard b"


def test_a_new_certificate_is_used_without_a_dropped_request(door: Door) -> None:
    failed: list[str] = []
    asked = Counter[int]()
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            number = 0
            try:
                with door.client() as client:
                    for number in range(5):  # noqa: B007 -- told below
                        asked[client.get("/d/x?seconds=0.05").status_code] += 1
            except httpx.TransportError as error:
                if number == 0:  # else a kept connection was closed at that moment: browsers ask again, on a new one
                    failed.append(repr(error))

    before = serial(door)
    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        for _ in range(2):
            before = serial(door)
            door.new_certificate()
            until(lambda old=before: serial(door) != old, "the new certificate")  # type: ignore[misc]
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert failed == []
    assert set(asked) <= {200, 429}
    assert asked[200] > 20


def test_a_bad_certificate_or_configuration_does_not_take_the_place_of_a_good_one(door: Door) -> None:
    before = serial(door)
    (door.certificates / "fullchain.pem").write_text("not a certificate")
    until(lambda: "is not good" in door.said.read_text(), "nginx to be asked")
    assert serial(door) == before
    door.new_certificate()
    until(lambda: serial(door) != before, "the new certificate")
    conf = door.folder / "nginx/door.conf"
    good = conf.read_text()
    told = door.said.read_text().count("is not good")
    conf.write_text(good + "nonsense;")
    until(lambda: door.said.read_text().count("is not good") > told, "nginx to be asked")
    with door.client() as client:
        assert client.get("/d/x").status_code == 200
        conf.write_text(good.replace("There is nothing here", "There is still nothing here"))
        until(lambda: "still" in client.get("/metrics").text, "the new configuration to be read")


def test_an_expired_certificate_is_told(door: Door) -> None:
    door.new_certificate(lasts=-dt.timedelta(hours=1))
    until(lambda: "THE CERTIFICATE HAS EXPIRED" in door.said.read_text(), "it to be told")
    until(lambda: expired(door), "browsers to be shown it")


def test_after_a_kill_it_starts_again_and_ends_when_told_to(door: Door) -> None:
    assert door.process is not None
    os.kill(int((door.folder / "run/nginx.pid").read_text()), signal.SIGKILL)
    assert door.process.wait(10) == 137, "the container's restart does the rest"
    door.start()
    with door.client() as client:
        assert client.get("/d/x").status_code == 200
        assert client.get("/public/x.js").status_code == 200, "its own socket was left behind"
    door.process.terminate()
    assert door.process.wait(10) == 0


def test_a_log_that_grows_is_begun_anew_and_none_of_it_is_lost(door: Door) -> None:
    with door.client() as client:
        client.post("/api/folders")
        until(lambda: "/api/folders" in door.audit_log.read_text(), "the log to be written")
        with door.audit_log.open("ab") as log:
            log.write(b"\n" * (51 << 20))
        until(lambda: list(door.folder.glob("audit-*.json")), "the log to be put aside")
        until(lambda: client.post("/api/teams").is_success and "/api/teams" in door.audit_log.read_text(), "a new one")
    [old] = door.folder.glob("audit-*.json")
    assert "/api/folders" in old.read_text()
    assert '{"status":200}' in (door.folder / "responses.json").read_text()


def test_an_authoritys_question_is_answered_over_plain_http_and_nothing_beside_it() -> None:
    acme = {"acme": {"email": "ops@example.org"}}
    with nginx_server.running("127.0.0.1:9", certificate=acme) as door:
        challenges = door.folder / "webroot/.well-known/acme-challenge"
        challenges.mkdir(parents=True)
        (challenges / "Token_1-x").write_text("Token_1-x.of-the-account")
        (challenges / ".hidden").write_text("secret")
        (door.folder / "webroot/secret").write_text("secret")
        door.programs.give(door.folder / "webroot")
        url = f"http://127.0.0.1:{door.http}/.well-known/acme-challenge"
        answer = httpx.get(f"{url}/Token_1-x", headers={"Host": DOMAIN})
        assert (answer.status_code, answer.text) == (200, "Token_1-x.of-the-account")
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = f" HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n"
        for path in (
            "",
            "/",
            "/nothing",
            "/.hidden",
            "/../../secret",
            "/..%2f..%2fsecret",
            "/%2e%2e/%2e%2e/secret",
            "/a/b",
        ):
            asked = f"GET /.well-known/acme-challenge{path}{head}".encode()
            found = nginx_server.raw(door, asked, encrypted=False)
            assert b"secret" not in found.partition(b"\r\n\r\n")[2], path
            assert found.startswith((b"HTTP/1.1 301", b"HTTP/1.1 404")), path


def test_what_browsers_report_goes_to_its_collector_without_a_session(grafanas: list[StandIn]) -> None:
    one, collector = grafanas
    with ExitStack() as stack:
        door = stack.enter_context(nginx_server.running(one.address, faro=collector.address, logs=True, rum=True))
        client = stack.enter_context(door.client(cookies={"grafana_session": "secret"}))
        assert client.post("/faro/collect?app=x", json={"a": 1}).status_code == 200
        assert client.get("/faro/other").headers["x-which"] == one.name
    [report] = collector.asked
    assert (report.method, report.path, report.body) == ("POST", "/collect?app=x", b'{"a":1}')
    assert "secret" not in str(report.headers)
    assert report.said("x-forwarded-for") == ["127.0.0.1"]
