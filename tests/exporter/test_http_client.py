"""The HTTP client against servers that misbehave, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from exporter.client import http as http_module
from exporter.client.http import HttpClient, http_client
from exporter.errors import CollectError, Reason
from provisioning.config.targets import OllamaTarget, OpenWebUITarget, TlsFiles


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@asynccontextmanager
async def raw(answer: bytes, *, close: bool = True) -> AsyncIterator[str]:
    """A server that sends these bytes whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            first = await reader.read(5)
            if first.startswith(b"GET"):
                await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not close:
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    served: set[asyncio.Task] = set()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*served)


async def reason(url: str, timeout: float = 5) -> tuple[Reason, str]:
    client = HttpClient(url, TlsFiles())
    try:
        with pytest.raises(CollectError) as caught:
            await client.json("/api/version", timeout=timeout)
        return caught.value.reason, str(caught.value)
    finally:
        await client.close()


def http(body: bytes, content_type: str = "application/json", status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        (http(b"{}", status="401 No"), Reason.UNAUTHORIZED, "check the key or password file"),
        (http(b"{}", status="403 No"), Reason.FORBIDDEN, "forbids"),
        (http(b"{}", status="404 No"), Reason.NOT_FOUND, "right address"),
        (http(b"{}", status="418 No"), Reason.CLIENT_ERROR, "418"),
        (http(b"{}", status="429 No"), Reason.RATE_LIMITED, "slow down"),
        (http(b"{}", status="500 No"), Reason.SERVER_ERROR, "own log"),
        (http(b"{}", status="503 No"), Reason.SERVER_ERROR, "503"),
        (http(b"<!doctype html>", "text/html"), Reason.NOT_JSON, "answered text/html where JSON belongs"),
        (http(b'{"version":'), Reason.NOT_JSON, "broken JSON"),
        (http(b'{"version": "\xff\xfe"}'), Reason.NOT_JSON, "broken JSON"),
        (http(b'{"n": NaN}'), Reason.NOT_JSON, "broken JSON"),
        (http(b'{"n": -Infinity}'), Reason.NOT_JSON, "broken JSON"),
        (http(b"[" * 100_000), Reason.NOT_JSON, "broken JSON"),
        (http(b'{"n": ' + b"9" * 10_000 + b"}"), Reason.NOT_JSON, "broken JSON"),
        (http(b"{}", more="Content-Encoding: gzip\r\n"), Reason.PROTOCOL, "compressed"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{}",
            Reason.PROTOCOL,
            "HTTP",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.PROTOCOL, "is the port right?"),
        (b"", Reason.CONNECT, "closed the connection"),
        (
            http(b"{}", status="200 OK").replace(b"Content-Length: 2", b"Content-Length: 4000000000"),
            Reason.TOO_LARGE,
            "MiB",
        ),
    ],
)
async def test_every_bad_answer_has_its_reason_and_says_what_to_do(answer, expected, words):
    async with raw(answer) as url:
        got, message = await reason(url)
    assert got == expected
    assert words in message
    assert "\n" not in message


async def test_nobody_listens():
    got, message = await reason(f"http://127.0.0.1:{unused_port()}")
    assert got == Reason.REFUSED
    assert "is it running" in message


async def test_a_name_that_does_not_exist():
    got, message = await reason("http://no-such-host.invalid:1")
    assert got == Reason.DNS
    assert "check its spelling" in message


async def test_a_server_that_never_answers_is_left_at_the_timeout():
    async with raw(b"", close=False) as url:
        assert (await reason(url, timeout=0.1))[0] == Reason.TIMEOUT


async def test_https_where_plain_http_listens():
    async with raw(http(b"{}")) as url:
        got, message = await reason(url.replace("http:", "https:"))
    assert got == Reason.TLS
    assert "does not speak TLS" in message


async def test_a_body_that_grows_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(http_module, "MAX_BODY", 1 << 20)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" " * 65536)
        return response

    async with serving(endless) as url:
        assert (await reason(url))[0] == Reason.TOO_LARGE


async def test_redirects_are_not_followed_and_credentials_do_not_travel(tmp_path):
    seen: list[str] = []

    async def canary(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({})

    async with serving(canary) as elsewhere:

        async def redirecting(_request: web.Request) -> web.Response:
            raise web.HTTPFound(elsewhere)

        async with serving(redirecting) as url:
            token = tmp_path / "token"
            token.write_text("s3cret\n")
            client = http_client(OllamaTarget(name="x", url=url, bearer_token_file=token))
            with pytest.raises(CollectError) as caught:
                await client.json("/api/version")
            await client.close()
    assert caught.value.reason == Reason.REDIRECT
    assert seen == []


async def headers_sent(target: OllamaTarget | OpenWebUITarget, *, key: bool = False) -> dict[str, str]:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    async with serving(echo) as url:
        client = http_client(target.model_copy(update={"url": url}))
        try:
            return {name.lower(): value for name, value in (await client.json("/x", key=key)).items()}
        finally:
            await client.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("sk-123\n")
    file.chmod(0o600)
    return file


async def test_the_api_key_goes_only_with_the_calls_that_ask_for_it(secret):
    target = OpenWebUITarget(name="chat", url="http://x", api_key_file=secret)
    assert "authorization" not in await headers_sent(target)
    assert (await headers_sent(target, key=True))["authorization"] == "Bearer sk-123"


async def test_behind_a_proxy_with_basic_authentication_the_key_goes_beside_it(secret):
    target = OpenWebUITarget(name="c", url="http://x", username="ana", password_file=secret, api_key_file=secret)
    got = await headers_sent(target, key=True)
    assert got["authorization"] == "Basic YW5hOnNrLTEyMw=="
    assert got["x-api-key"] == "sk-123"


async def test_a_secret_that_changed_on_disk_is_used_at_the_next_call(secret):
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(request.headers["Authorization"])

    async with serving(echo) as url:
        client = http_client(OllamaTarget(name="x", url=url, bearer_token_file=secret))
        assert await client.json("/x") == "Bearer sk-123"
        secret.write_text("sk-456, longer\n")
        assert await client.json("/x") == "Bearer sk-456, longer"
        await client.close()


async def test_an_unreadable_secret_is_its_own_reason_and_nothing_is_sent(tmp_path):
    target = OllamaTarget(name="x", url="http://127.0.0.1:1", bearer_token_file=tmp_path / "gone")
    client = http_client(target)
    with pytest.raises(CollectError) as caught:
        await client.json("/x")
    assert caught.value.reason == Reason.SECRET
    await client.close()


async def test_a_large_answer_is_decoded_whole():
    models = [{"name": f"m{index}"} for index in range(40_000)]

    async def many(_request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(models), content_type="application/json")

    async with serving(many) as url:
        client = HttpClient(url, TlsFiles())
        assert await client.json("/") == models
        await client.close()


async def test_a_call_that_was_cancelled_does_not_spoil_the_next(secret):
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await gate.wait()
        return web.json_response(request.path)

    async with serving(slow) as url:
        client = HttpClient(url, TlsFiles())
        call = asyncio.create_task(client.json("/slow"))
        await asyncio.sleep(0.05)
        call.cancel()
        assert await client.json("/fast") == "/fast"
        gate.set()
        await client.close()


@pytest.mark.parametrize("unit", ["{}", "[[]]", '{"ab":1}', '""', "-9"])
async def test_json_that_unfolds_to_gigabytes_is_refused_before_it_is_decoded(unit: str):
    body = f"[{','.join([unit] * ((http_module.MAX_BODY - 2) // (len(unit) + 1)))}]".encode()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async with serving(answer) as url:
        got, words = await reason(url, timeout=30)
    assert got is Reason.TOO_LARGE
    assert "128 MiB" in words
