"""The certificate that the door shows: exchanged, broken, expired, and how it is got. Needs nginx."""

from __future__ import annotations

import datetime as dt
import ssl
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.compose.running import until
from tests.standins import grafana_standin, nginx_server
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@pytest.fixture
def door() -> Iterator[Door]:
    with grafana_standin.running() as grafana, nginx_server.running(grafana.address) as made:
        yield made


def expired(door: Door) -> bool:
    try:
        nginx_server.connect(door).close()
    except ssl.SSLCertVerificationError as error:
        return "expired" in str(error)
    return False


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

    before = door.serial()
    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        for _ in range(2):
            before = door.serial()
            door.new_certificate()
            until(lambda old=before: door.serial() != old, "the new certificate")  # type: ignore[misc]
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    assert failed == []
    assert set(asked) <= {200, 429}
    assert asked[200] > 20


def test_a_bad_certificate_or_configuration_does_not_take_the_place_of_a_good_one(door: Door) -> None:
    before = door.serial()
    (door.certificates / "fullchain.pem").write_text("not a certificate")
    until(lambda: "is not good" in door.said.read_text(), "nginx to be asked")
    assert door.serial() == before
    door.new_certificate()
    until(lambda: door.serial() != before, "the new certificate")
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
