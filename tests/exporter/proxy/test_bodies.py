"""Where bodies end: however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy.bodies import Chunked, Counted, Endless, body_of
from exporter.proxy.heads import WrongMessageError

LINES = st.one_of(
    st.integers(0, 10**9).map(lambda number: b'{"a":%d}\n' % number),
    st.integers(0, 10**9).map(lambda number: b"data: %d\n\n" % number),
    st.lists(st.sampled_from([b"\r", b"\n", b"0", b"a", b"{", b"}"]), min_size=1, max_size=30).map(b"".join),
)
SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"%x;name=value", b"%x "])
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=20)


def chunked(contents: list[bytes], size: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(size % len(one) + b"\r\n" + one + b"\r\n" for one in contents) + b"0\r\n" + trailers + b"\r\n"


def fed(body: Chunked | Counted, raw: bytes, cuts: list[int]) -> tuple[bytes, int]:
    """What the body held, and where it ended in `raw`."""
    out: list[bytes] = []
    at = number = 0
    while at < len(raw) and not body.done:
        part = raw[at : at + cuts[number % len(cuts)]]
        end = body.feed(part, 0, out)
        assert body.done or end == len(part)
        at, number = at + end, number + 1
    return b"".join(out), at


@given(st.lists(LINES, max_size=12), SIZES, CUTS, st.sampled_from([b"", b"X-Sum: 1\r\n"]))
def test_chunks_end_where_they_end_however_they_are_cut(contents, size, cuts, trailers):
    raw = chunked(contents, size, trailers)
    body = Chunked()
    assert fed(body, raw + b"HTTP/1.1 200 OK", cuts) == (b"".join(contents), len(raw))
    assert body.done


@given(st.binary(max_size=200), CUTS)
def test_a_counted_body_ends_after_its_bytes(content, cuts):
    body = Counted(len(content))
    assert fed(body, content + b"more", cuts) == (content, len(content))
    assert body.done


def test_an_endless_body_takes_everything():
    out: list[bytes] = []
    body = body_of("close")
    assert isinstance(body, Endless)
    assert body.feed(b"xabc", 1, out) == 4
    assert (out, body.done) == ([b"abc"], False)


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"4\r\n{1}\n\n\r\n",  # a line that is longer than its chunk
        b"5\r\n{1}\n\r\n",  # and one that is shorter: the next bytes are not the end of a chunk
        b"1" * 16 + b"\r\n",
        b"5;" + b"a" * 5000,
        b"0\r\n" + b"X: " + b"a" * 5000,
        b"0\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_chunks_that_could_be_read_in_two_ways_are_refused(raw):
    body = Chunked()
    with pytest.raises(WrongMessageError):
        body.feed(raw + b"zz\r\n" * 3, 0, [])
