"""Requests no decent client sends: table row 14."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time

import aiohttp
import pytest

from tests.exporter.door.helpers import fleet_of, serving

METHODS = (
    *("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MKCOL", "COPY", "MOVE", "LOCK"),
    *("SEARCH", "PURGE", "BREW", "get", "GET\x00", "M-SEARCH", "X" * 100, "PRI"),
)
TARGETS = (
    "/%", "/%zz", "/metrics%00", "/metrics%2f..%2fconfig", "/%2e%2e/%2e%2e/etc/passwd", "/../config/../../etc/passwd",
    "//metrics", "//evil.example/metrics", "/metrics/", "/probe?target=%", "/probe?target=%zz", "/probe?target=%ff%fe",
    "/probe?target=gpu%00", "/probe", "/metrics?collect[]=%ff", "http://evil.example/metrics", "https://127.0.0.1/probe",
    "*", "evil.example:80", "/" + "a" * 16384, "/probe?target=" + "a" * 16384, "/\u00e9", "/-/reload", "",
)  # fmt: skip
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,  # TLS on a plain port
    b"\x00" * 100 + b"\r\n\r\n",
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(500)) + b"\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
)


async def answered(port: int, request: bytes) -> int | None:
    """The status of the answer; None when there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            line = await reader.readline()
    except ConnectionError:
        return None
    finally:
        writer.close()
    return int(line.split()[1]) if line.startswith(b"HTTP/1.") else None


async def own_series(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/metrics?collect[]=self") as answer:
        assert answer.status == 200
        return sum(not line.startswith("#") for line in (await answer.text()).splitlines())


def requests(extra: str = "") -> list[bytes]:
    end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    by_method = [method.encode() + b" /metrics" + extra.encode() + end for method in METHODS]
    by_target = [b"GET " + (target + extra).encode() + end for target in TARGETS]
    return by_method + by_target


async def test_malformed_requests_get_4xx_and_leave_no_trace(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with serving(fleet_of(tmp_path)) as url, aiohttp.ClientSession() as session:
        port = int(url.rpartition(":")[2])
        for request in requests():
            status = await answered(port, request)
            assert status is not None, request[:80]
            assert 400 <= status < 500, (status, request[:80])
        for request in GARBAGE:
            status = await answered(port, request)
            assert status is None or 400 <= status < 500, (status, request[:80])
        for request in requests("/warm"):
            await answered(port, request)
        await own_series(session, url)
        before = await own_series(session, url)
        for number in range(3):
            await asyncio.gather(*(answered(port, request) for request in requests(f"/{number}")))
        assert await own_series(session, url) == before
        async with session.get(f"{url}/probe?target=gpu") as answer:
            assert "ollama_up 1.0" in await answer.text()
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("given", ["scrape-7", None, "a b", "x" * 65, 'x"y', "-x"])
async def test_an_error_answer_carries_a_request_id_the_callers_own_when_it_is_sane(tmp_path, given):
    async with serving(fleet_of(tmp_path)) as url, aiohttp.ClientSession() as session:
        headers = {} if given is None else {"X-Request-Id": given}
        async with session.get(f"{url}/probe?target=nope", headers=headers) as answer:
            number = answer.headers["X-Request-Id"]
        assert number == "scrape-7" if given == "scrape-7" else len(number) == 16
        async with session.get(f"{url}/-/healthy", headers=headers) as answer:
            assert "X-Request-Id" not in answer.headers


async def test_an_unexpected_failure_is_500_with_the_id_that_the_log_has_and_no_traceback(
    tmp_path, caplog, monkeypatch
):
    fleet = fleet_of(tmp_path)
    async with serving(fleet) as url, aiohttp.ClientSession() as session:
        monkeypatch.setattr(fleet, "watches", None)
        async with session.get(f"{url}/targets", headers={"X-Request-Id": "scrape-7"}) as answer:
            assert answer.status == 500
            text = await answer.text()
        monkeypatch.undo()
    assert "request_id=scrape-7" in text
    assert "Traceback" not in text
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None


async def test_every_answer_has_the_security_headers_and_the_configured_ones(tmp_path):
    web_file = tmp_path / "web.yml"
    web_file.write_text(
        "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: default-src none}}"
    )
    async with serving(fleet_of(tmp_path), web_file) as url, aiohttp.ClientSession() as session:
        for path in ("/", "/-/healthy", "/nope", "/probe?target=nope"):
            async with session.get(url + path) as answer:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["X-Frame-Options"] == "deny"
                assert answer.headers["Content-Security-Policy"] == "default-src none"


async def test_the_rate_limit_lets_a_burst_in_and_refuses_the_rest(tmp_path):
    web_file = tmp_path / "web.yml"
    web_file.write_text("rate_limit: {interval: 1h, burst: 3}\n")
    async with serving(fleet_of(tmp_path), web_file) as url, aiohttp.ClientSession() as session:
        statuses = []
        for _ in range(5):
            async with session.get(f"{url}/-/healthy") as answer:
                statuses.append(answer.status)
    assert statuses == [200, 200, 200, 429, 429]


async def test_what_is_sent_compressed_is_not_unfolded(tmp_path):
    """Kilobytes that nobody wants to read cost a second of the event loop."""
    bomb = gzip.compress(b"\0" * (200 << 20), 6)
    headers = {"Content-Encoding": "gzip"}
    async with serving(fleet_of(tmp_path)) as url, aiohttp.ClientSession() as session:
        began = time.process_time()
        for _ in range(3):
            async with session.get(f"{url}/-/healthy", data=bomb, headers=headers) as answer:
                assert answer.status == 200
        assert time.process_time() - began < 0.4
