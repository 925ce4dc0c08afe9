"""nginx as it ships, before a stand-in: what it shows, says and passes on. Needs nginx (`make tools` unpacks it)."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.compose.running import until
from tests.standins import nginx_server
from tests.standins.grafana_standin import IDENTITY, OLD_SESSION, POLICY, SCRIPT, StandIn
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
FRIEND, STRANGER = "https://intranet.example.org", "https://evil.example"
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "deny",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.fixture(scope="module")
def door(standin: StandIn) -> Iterator[Door]:
    with nginx_server.running(
        standin.address, cors_origins=[FRIEND], cdn_url="https://cdn.example.org/ours", hsts_preload=True
    ) as made:
        yield made


@pytest.fixture
def client(door: Door) -> Iterator[httpx.Client]:
    with door.client() as made:
        yield made


def handshake(door: Door, name: str | None, **how: object) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for key, value in how.items():
        setattr(context, key, value)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", door.port), 5), server_hostname=name)


def test_only_tls_1_3_and_http_2_with_good_ciphers(door: Door) -> None:
    with handshake(door, DOMAIN) as made:
        assert (made.version(), made.selected_alpn_protocol()) == ("TLSv1.3", "h2")
        assert made.cipher()[0] in {  # type: ignore[index]
            "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256",
        }  # fmt: skip
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        handshake(door, DOMAIN, minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1", None, f"x.{DOMAIN}"])
def test_who_does_not_know_the_name_does_not_even_see_the_certificate(door: Door, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name|alert"):
        handshake(door, name)


@pytest.mark.parametrize("host", ["evil.example", f"{DOMAIN}.evil.example", "127.0.0.1", ""])
@pytest.mark.parametrize("encrypted", [True, False])
def test_an_unknown_host_is_not_answered(door: Door, standin: StandIn, host: str, encrypted: bool) -> None:
    before = len(standin.asked)
    for line in (f"GET / HTTP/1.1\r\nHost: {host}", f"GET https://{host or 'x'}/ HTTP/1.1\r\nHost: {DOMAIN}"):
        answer = nginx_server.raw(door, f"{line}\r\nConnection: close\r\n\r\n".encode(), encrypted=encrypted)
        assert answer == b"" or (host == "" and answer.startswith(b"HTTP/1.1 400"))
    assert len(standin.asked) == before


def test_http_2_end_to_end(door: Door) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl on PATH")
    place = ["--resolve", f"{DOMAIN}:{door.port}:127.0.0.1", "--cacert", str(door.ca)]
    told = [*place, "--http2", "-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    assert subprocess.check_output([curl, *told, f"{door.url}/d/x"], text=True) == "2 200"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/d/x", 200), ("/api/search", 200), ("/public/app.js", 200), ("/metrics", 404), ("/a//b", 400), ("/login", 200)],
)
def test_headers_on_every_answer(client: httpx.Client, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get_list(name) for name in EVERYWHERE} == {k: [v] for k, v in EVERYWHERE.items()}
    assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains; preload"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["server"] == "nginx"
    assert "x-grafana-identity-id" not in answer.headers
    own = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    expected = {"/d/x": [POLICY], "/login": [POLICY], "/metrics": [own], "/a//b": [own]}
    assert answer.headers.get_list("content-security-policy") == expected.get(path, []), "one policy, and Grafana's"


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/9.9\r\n\r\n", b"NONSENSE\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: %s\r\n\r\n" % DOMAIN.encode()],
)  # fmt: skip
def test_headers_on_what_is_no_request_at_all(door: Door, bad: bytes) -> None:
    answer = nginx_server.raw(door, bad).lower()
    assert answer.startswith((b"http/1.1 4", b"http/1.1 505")), answer
    for name, value in EVERYWHERE.items():
        assert f"{name}: {value}\r\n".encode() in answer
    assert b"strict-transport-security: " in answer


def test_plain_http_sends_on_to_https_and_nothing_else(door: Door, standin: StandIn) -> None:
    before = len(standin.asked)
    answer = httpx.get(f"http://127.0.0.1:{door.http}/d/x?a=b", headers={"Host": DOMAIN})
    assert (answer.status_code, answer.headers["location"]) == (301, f"{door.url}/d/x?a=b")
    assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE
    assert "strict-transport-security" not in answer.headers, "HTTP may not say it"
    assert httpx.get(f"http://127.0.0.1:{door.http}/.well-known/acme-challenge/x", headers={"Host": DOMAIN}).is_redirect
    assert len(standin.asked) == before


def test_who_speaks_http_to_the_https_port_is_told_so(door: Door) -> None:
    answer = nginx_server.raw(
        door, f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode(), encrypted=False, port=door.port
    )
    assert answer.startswith(b"HTTP/1.1 400")


def test_only_named_origins_may_ask_with_somebodys_browser(client: httpx.Client, standin: StandIn) -> None:
    answer = client.get("/api/search", headers={"Origin": FRIEND})
    assert answer.headers.get_list("access-control-allow-origin") == [FRIEND]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]
    for origin in (STRANGER, "null", f"{FRIEND}.evil.example", "https://evil.example/" + FRIEND):
        answer = client.get("/api/search", headers={"Origin": origin})
        assert not [name for name in answer.headers if name.startswith("access-control")], origin
    before = len(standin.asked)
    wish = {"Access-Control-Request-Method": "POST"}
    preflight = client.options("/api/ds/query", headers={"Origin": FRIEND, **wish})
    assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (204, "GET, POST")
    assert len(standin.asked) == before
    stranger = client.options("/api/ds/query", headers={"Origin": STRANGER, **wish})
    assert "access-control-allow-methods" not in stranger.headers


@pytest.mark.parametrize(
    ("wish", "got"),
    [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip;q=0.5", "gzip"), ("gzip;q=0", None), ("", None)],
)
@pytest.mark.parametrize("path", ["/public/build/app.js", "/api/search"])
def test_answers_are_compressed_as_the_browser_can(client: httpx.Client, wish: str, got: str | None, path: str) -> None:
    with client.stream("GET", path, headers={"Accept-Encoding": wish}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == got
    assert len(body) < 1000 if got else len(body) > 1000
    assert "Accept-Encoding" in answer.headers.get("vary", "") or not got


def test_what_could_be_guessed_letter_by_letter_is_not_compressed(client: httpx.Client) -> None:
    assert "content-encoding" not in client.get("/login", headers={"Accept-Encoding": "br, gzip"}).headers


def test_static_files_are_asked_of_grafana_once(client: httpx.Client, standin: StandIn) -> None:
    found = [client.get(f"/public/build/once.js?{number}") for number in range(5)]
    assert {answer.content for answer in found} == {SCRIPT}
    assert [path for path in standin.paths() if "once.js" in path] == ["/public/build/once.js"]
    from_cdn = client.get("/ours/grafana-oss/12.2.0/public/build/cdn.js")
    assert (from_cdn.status_code, from_cdn.content) == (200, SCRIPT)


def test_a_session_to_be_renewed_is_sent_there_and_back(client: httpx.Client, door: Door) -> None:
    old = {"Cookie": f"grafana_session={OLD_SESSION}"}
    answer = client.get("/d/cluster-ai-system?from=now-1h", headers=old)
    renewed = f"{door.url}/user/auth-tokens/rotate?redirectTo=/d/cluster-ai-system?from=now-1h"
    assert (answer.status_code, answer.headers["location"]) == (302, renewed)
    assert answer.headers["set-cookie"].startswith("redirect_to=/d/cluster-ai-system?from=now-1h; Path=/;")
    assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE
    for odd in ("/d/x;Domain=evil.example", "/d/x%0d%0aSet-Cookie:a=b", "/d/'\""):
        assert "evil" not in client.get(odd, headers=old).headers.get("set-cookie", "").lower()


def test_the_log_names_who_asked_and_never_what(client: httpx.Client, door: Door) -> None:
    client.get("/api/search?query=secret-word", headers={"User-Agent": 'x"},{"time":"\\u0000'})
    client.get("/invite/secret-code")
    client.post("/login", json={"user": "ana", "password": "wrong-secret"})
    client.get("/api/search", auth=("bo", "another-secret"), headers={"User-Agent": "the last"})
    until(lambda: "the last" in door.access_log.read_text(), "the log to be written")
    text = door.access_log.read_text()
    assert "secret" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    [asked] = [line for line in lines if line["agent"].startswith('x"}')]
    assert (asked["path"], asked["identity"], asked["address"]) == ("/api/search", IDENTITY, "127.0.0.1")
    assert '"login":"bo"' not in text, "Grafana says who it was where the password was right"
    assert "/invite/..." in {line["path"] for line in lines}
    assert [(line["method"], line["path"], line["status"], line["login"]) for line in door.kept()] == [
        ("POST", "/login", 401, "ana")
    ]


@pytest.mark.parametrize(
    "body",
    [
        '{"user":"mallory","user":"ana","password":"secret"}',
        '{"user":"ana","password":"secret","user":"mallory"}',
        '{"x":{"user":"ana","password":"secret"},"user":"mallory"}',
        '{"user":"ana","password":"secret"} {"user":"mallory","password":"x"}',
        '{"user":"a\\u006ea","password":"secret"}',
        '["user","ana"]',
    ],
)
def test_a_name_that_may_not_be_the_one_that_counts_is_not_noted(client: httpx.Client, door: Door, body: str) -> None:
    before = len(door.attempts_log.read_text().splitlines())
    client.post("/login", content=body)
    until(lambda: len(door.attempts_log.read_text().splitlines()) > before, "the log to be written")
    last = json.loads(door.attempts_log.read_text().splitlines()[-1])
    assert (last["path"], last["login"]) == ("/login", "")


def test_its_own_numbers_and_nothing_more_are_on_its_own_port(door: Door) -> None:
    assert "Active connections" in httpx.get(f"http://127.0.0.1:{door.status}/stub_status").text
    assert httpx.get(f"http://127.0.0.1:{door.status}/api/search").status_code == 404
