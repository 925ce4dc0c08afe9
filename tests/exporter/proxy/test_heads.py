"""Heads: what is understood, and what must not be passed on."""

from __future__ import annotations

import pytest

from exporter.proxy.heads import WrongMessageError, request_head, response_head, with_host
from exporter.proxy.messages import Messages


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode()


def test_a_request_is_understood():
    found = request_head(head("POST /api/chat?x=1 HTTP/1.1", "Host: a", "Transfer-Encoding:  Chunked ", "X-A: b:c"))
    assert (found.method, found.target, found.path) == ("POST", "/api/chat?x=1", "/api/chat")
    assert found.framing == "chunked"
    assert found.fields.get(b"x-a") == b"b:c"


@pytest.mark.parametrize(
    ("lines", "framing"),
    [
        (("GET / HTTP/1.1", "Host: a"), 0),
        (("GET / HTTP/1.0",), 0),
        (("POST / HTTP/1.1", "Host: a", "Content-Length: 12"), 12),
        (("POST / HTTP/1.1", "Host: a", "Content-Length: 12, 12"), 12),
    ],
)
def test_how_long_the_body_of_a_request_is(lines, framing):
    assert request_head(head(*lines)).framing == framing


@pytest.mark.parametrize(
    "lines",
    [
        ("GET / HTTP/2.0", "Host: a"),
        ("GET  / HTTP/1.1", "Host: a"),
        ("GET /a b HTTP/1.1", "Host: a"),
        ("GET / HTTP/1.1",),
        ("GET / HTTP/1.1", "Host: a", "Host: b"),
        ("GET / HTTP/1.1", "Host: a", " folded"),
        ("GET / HTTP/1.1", "Host: a", "X-A : b"),
        ("GET / HTTP/1.1", "Host: a", "X-A: b\nX-B: c"),
        ("GET / HTTP/1.1", "Host: a", "X-A: b\x00"),
        ("GET / HTTP/1.1", "Host: a", ": b"),
        ("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"),
        ("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 2"),
        ("POST / HTTP/1.1", "Host: a", "Content-Length: +1"),
        ("POST / HTTP/1.1", "Host: a", "Content-Length: 0x1"),
        ("POST / HTTP/1.1", "Host: a", "Content-Length: "),
        ("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"),
        ("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked, chunked"),
        ("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: xchunked"),
        ("POST / HTTP/1.0", "Transfer-Encoding: chunked"),
        ("CONNECT other:443 HTTP/1.1", "Host: a"),
    ],
    ids=str,
)
def test_what_two_servers_could_read_differently_is_refused(lines):
    with pytest.raises(WrongMessageError):
        request_head(head(*lines))


@pytest.mark.parametrize(
    ("lines", "method", "framing"),
    [
        (("HTTP/1.1 200 OK", "Content-Length: 5"), "GET", 5),
        (("HTTP/1.1 200 OK", "Content-Length: 5"), "HEAD", 0),
        (("HTTP/1.1 204 No Content",), "GET", 0),
        (("HTTP/1.1 304 Not Modified", "Content-Length: 5"), "GET", 0),
        (("HTTP/1.1 100 Continue",), "POST", 0),
        (("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), "GET", "chunked"),
        (("HTTP/1.0 200 OK",), "GET", "close"),
        (("HTTP/1.1 200",), "GET", "close"),
    ],
)
def test_how_long_the_body_of_an_answer_is(lines, method, framing):
    assert response_head(head(*lines), method).framing == framing


def test_only_the_host_is_written_anew():
    raw = head("GET / HTTP/1.1", "Accept:  */* ", "hOst:old:1", "X-Host: keep")
    assert with_host(raw, b"new:2") == head("GET / HTTP/1.1", "Accept:  */* ", "hOst:new:2", "X-Host: keep")


def test_messages_are_told_apart_and_every_byte_is_in_one_piece():
    one = head("POST /a HTTP/1.1", "Host: a", "Content-Length: 3") + b"abc"
    two = head("GET /b HTTP/1.1", "Host: a")
    for size in (1, 2, 5, 1000):
        messages = Messages(lambda raw: (found := request_head(raw), found.framing))
        pieces = [piece for at in range(0, 200, size) for piece in messages.feed((one + two)[at : at + size])]
        assert b"".join(piece.raw for piece in pieces) == one + two
        assert [piece.head.path for piece in pieces if piece.head] == ["/a", "/b"]
        assert sum(piece.last for piece in pieces) == 2
        assert messages.between


def test_a_head_without_end_is_refused_in_time():
    messages = Messages(lambda raw: (found := request_head(raw), found.framing))
    messages.feed(b"GET / HTTP/1.1\r\n")
    line = b"X-A: " + b"b" * 1024 + b"\r\n"
    assert messages.feed(line * 200) == []
    with pytest.raises(WrongMessageError) as error:
        messages.feed(line * 100)
    assert error.value.status == 431
