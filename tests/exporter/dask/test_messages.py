"""What the operator reads when a port does not speak as a Dask scheduler, word for word; and the limits to the byte."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest

from exporter import dask_protocol as protocol
from exporter.errors import CollectError, Reason
from tests.exporter.dask.framing import split_block

WEB = "answers HTTP: give the scheduler's own port (usually 8786), not its dashboard's"
NO_FRAMES = "does not speak Dask's protocol: a message without frames"
CUT = "sent a message whose frame sizes are cut short"
UNFILLED = "sent a message whose frames do not fill its block"
TOO_LONG = (
    "sent a message of 32 MiB; at most 32 are read, about 24,000 workers: split a larger cluster (docs/scaling.md); if"
    " it is smaller, is this a scheduler?"
)
STRANGER = "did not greet as Dask does; is it a scheduler, and is the port right?"


def numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


@pytest.mark.parametrize(
    ("read", "given", "reason", "words"),
    [
        (protocol.block_size, b"HTTP/1.1", Reason.PROTOCOL, WEB),
        (protocol.block_size, b"<html><h", Reason.PROTOCOL, WEB),
        (protocol.block_size, b"<!DOCTYP", Reason.PROTOCOL, WEB),
        (
            protocol.block_size,
            b"\x15\x03\x03\x00\x02\x02\x28\x00",
            Reason.TLS,
            "wants TLS: write the scheduler's address as tls:// and give ca_file",
        ),
        (protocol.block_size, numbers(15), Reason.PROTOCOL, NO_FRAMES),
        (
            protocol.block_size,
            numbers(protocol.MAX_MESSAGE + 1),
            Reason.TOO_LARGE,
            TOO_LONG,
        ),
        (
            split_block,
            numbers(1025) + bytes(9000),
            Reason.TOO_LARGE,
            "sent a message of 1025 frames; at most 1024 are read",
        ),
        (split_block, numbers(0, 0), Reason.PROTOCOL, CUT),
        (split_block, numbers(2, 1), Reason.PROTOCOL, CUT),
        (split_block, numbers(1, 1) + b"ab", Reason.PROTOCOL, UNFILLED),
        (protocol.decode, b"\xa5hell", Reason.PROTOCOL, "sent a message that is cut short"),
        (protocol.decode, b"\xc1", Reason.PROTOCOL, "sent a message that is not msgpack: FormatError"),
        (protocol.decode, b"\x01\x02", Reason.PROTOCOL, "sent a message that is not msgpack: ExtraData"),
        (protocol.greeting, {"status": "OK"}, Reason.PROTOCOL, STRANGER),
    ],
)
def test_the_words(read: Any, given: object, reason: Reason, words: str) -> None:
    with pytest.raises(CollectError) as caught:
        read(given)
    assert (caught.value.reason, str(caught.value)) == (reason, words)


def test_a_failure_without_a_text() -> None:
    with pytest.raises(CollectError) as caught:
        protocol.result("identity", {"status": "uncaught-error"})
    assert str(caught.value) == "failed on 'identity' (no text given); the scheduler's log has the traceback"


def test_the_limits_themselves_are_allowed() -> None:
    assert protocol.block_size(numbers(16)) == 16
    assert protocol.block_size(numbers(protocol.MAX_MESSAGE)) == protocol.MAX_MESSAGE
    empty = numbers(protocol.MAX_FRAMES, *[0] * protocol.MAX_FRAMES)
    assert split_block(empty) == (b"", 0)


def test_bytes_stay_bytes_both_ways() -> None:
    frame, _ = split_block(protocol.encode({"op": b"\xff"})[8:])
    assert frame == msgpack.packb({"op": b"\xff"}, use_bin_type=True)
    assert protocol.decode(frame) == {"op": b"\xff"}


def test_keys_that_are_no_text_are_read() -> None:
    assert protocol.decode(msgpack.packb({1: 2, ("a", 3): [4]})) == {1: 2, ("a", 3): (4,)}
