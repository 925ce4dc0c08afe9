"""The bytes of Dask's RPC: frames and msgpack, nothing else, and never a pickle.

A message on the wire (distributed/comm/tcp.py, protocol/core.py and protocol/utils.py, the same from 2022.12 to
2026.8), every number an unsigned 64-bit little-endian integer:

    size of the block | block: number of frames | their sizes | frames ... | frames that were left out of the block

Frame 0 is msgpack. The others hold what msgpack cannot, pickles mostly, and frame 0 points to them with
`{"__Serialized__": n}` or `{"__Pickled__": n}`; such a node reads as None here and its frames are dropped unread.
Everything that arrives is bounded before memory is taken for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from exporter.errors import CollectError, Reason

SIZE_BYTES = 8
MAX_MESSAGE = 64 * 2**20  # a thousand workers' identity is 0.7 MB, 2022.12's full event window about 10 MB
MAX_DECODED = 768 * 2**20  # bytes of Python objects: twenty thousand workers' identity is 600 MB by `_cost`
MAX_FRAMES = 1024
# Compression is settled by both handshakes naming the same one, so ours keeps every frame plain.
HANDSHAKE: Mapping[str, object] = {"compression": None, "python": (3, 11, 0), "pickle-protocol": 5}

_OUT_OF_BAND = ("__Serialized__", "__Pickled__")
_MARKS = (b"__Serialized__", b"__Pickled__", b"__Set__", b"__Enum__")
# What one byte of msgpack can make in memory at most, by the kinds of value that it begins.
_COSTS = (
    (232, bytes((*range(0x80, 0x90), 0xDE, 0xDF))),  # maps
    (64, bytes((*range(0x90, 0xC0), 0xDC, 0xDD, *range(0xC4, 0xC7), *range(0xD9, 0xDC)))),  # arrays, text, bytes
    (64, bytes((*range(0xC7, 0xCA), *range(0xD4, 0xD9)))),  # extensions
    (36, bytes((*range(0xCA, 0xD4), *range(0xE0, 0x100)))),  # numbers
)
_POINTER = 8  # in its array or map, whatever it is
_TLS_ALERT = b"\x15\x03"
_ERROR_TEXT = 200


def encode(message: Mapping[str, object]) -> bytes:
    """`message` as one frame in one block."""
    frame = msgpack.packb(dict(message), use_bin_type=True)
    return struct.pack("<QQQ", 2 * SIZE_BYTES + len(frame), 1, len(frame)) + bytes(frame)


def block_size(head: bytes) -> int:
    """The size of the block that follows the first eight bytes of a message.

    Raises CollectError: `protocol` when another protocol is spoken there, `too_large` above MAX_MESSAGE.
    """
    if head.startswith((b"HTTP/", b"<html", b"<!DOC")):
        raise CollectError(
            Reason.PROTOCOL, "answers HTTP: give the scheduler's own port (usually 8786), not its dashboard's"
        )
    if head.startswith(_TLS_ALERT):
        raise CollectError(Reason.TLS, "wants TLS: write the scheduler's address as tls:// and give ca_file")
    size: int = struct.unpack("<Q", head)[0]
    if size < 2 * SIZE_BYTES:
        raise CollectError(Reason.PROTOCOL, "does not speak Dask's protocol: a message without frames")
    return _bounded(size)


def split_block(block: bytes) -> tuple[bytes, int]:
    """Frame 0 of a block, and how many bytes of frames follow the block on the wire (to be read and dropped).

    Raises CollectError: `protocol` when sizes contradict each other, `too_large` above the limits.
    """
    count: int = struct.unpack_from("<Q", block)[0]
    if count > MAX_FRAMES:
        raise CollectError(Reason.TOO_LARGE, f"sent a message of {count} frames; at most {MAX_FRAMES} are read")
    start = SIZE_BYTES * (1 + count)
    if count == 0 or start > len(block):
        raise CollectError(Reason.PROTOCOL, "sent a message whose frame sizes are cut short")
    sizes = struct.unpack_from(f"<{count}Q", block, SIZE_BYTES)
    _bounded(sum(sizes))
    inside, present = start, 0
    while present < count and inside + sizes[present] <= len(block):
        inside += sizes[present]
        present += 1
    if present == 0 or inside != len(block):
        raise CollectError(Reason.PROTOCOL, "sent a message whose frames do not fill its block")
    return block[start : start + sizes[0]], sum(sizes[present:])


def decode(frame: bytes) -> Any:
    """The msgpack value of frame 0: dicts, tuples, str, bytes, numbers.

    Sets read as tuples, enumerations as their name, nodes that need a pickle as None. Raises CollectError
    (`protocol`) for anything that is not one whole msgpack value, and `too_large` for one that would take more than
    MAX_DECODED.
    """
    if len(frame) > MAX_DECODED // _COSTS[0][0] and _cost(frame) > MAX_DECODED:
        raise CollectError(
            Reason.TOO_LARGE, f"sent {len(frame)} bytes that would take more than {MAX_DECODED >> 20} MiB of memory"
        )
    try:
        # Walks the frame without building anything, so that an array that claims more elements than there are
        # bytes is refused before a list of that size is made.
        walker = msgpack.Unpacker(max_buffer_size=len(frame), strict_map_key=False)
        walker.feed(frame)
        walker.skip()
        # The hook is a call for each of thousands of maps, and most messages hold nothing for it.
        hook = _plain if any(mark in frame for mark in _MARKS) else None
        return msgpack.unpackb(frame, object_hook=hook, use_list=False, strict_map_key=False, raw=False)
    except msgpack.OutOfData:
        raise CollectError(Reason.PROTOCOL, "sent a message that is cut short") from None
    except (ValueError, TypeError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise CollectError(Reason.PROTOCOL, f"sent a message that is not msgpack: {type(error).__name__}") from None


def greeting(handshake: Any) -> None:
    """Check the other side's half of the handshake. Raises CollectError (`protocol`)."""
    if not isinstance(handshake, dict) or "pickle-protocol" not in handshake:
        raise CollectError(Reason.PROTOCOL, "did not greet as Dask does; is it a scheduler, and is the port right?")


def result(op: str, reply: Any) -> Any:
    """`reply`, unless it reports that the operation failed on the scheduler.

    Dask answers a failure with a pickled exception, which is dropped, and its text, which is enough. Raises
    CollectError: `forbidden` when the operation is in distributed.scheduler.blocked-handlers, else `server_error`.
    """
    if not isinstance(reply, Mapping) or reply.get("status") != "uncaught-error":
        return reply
    text = str(reply.get("exception_text") or "no text given")
    if "explicitly disallowed" in text:
        raise CollectError(
            Reason.FORBIDDEN, f"refuses {op!r}: take it out of distributed.scheduler.blocked-handlers on the scheduler"
        )
    line = " ".join(text[:_ERROR_TEXT].split())
    raise CollectError(Reason.SERVER_ERROR, f"failed on {op!r} ({line}); the scheduler's log has the traceback")


def _cost(frame: bytes) -> int:
    """What the frame takes at most once decoded, in bytes: sixty million empty maps are 60 MB there and 5 GB here.

    It takes every byte for the beginning of a value, which costs milliseconds; walking the values would cost seconds.
    """
    heavy = sum(cost * (len(frame) - len(frame.translate(None, first))) for cost, first in _COSTS)
    return heavy + _POINTER * len(frame)


def _plain(node: dict[Any, Any]) -> Any:
    if any(mark in node for mark in _OUT_OF_BAND):
        return None
    if "__Set__" in node and isinstance(node.get("as-list"), Sequence):
        return node["as-list"]
    if "__Enum__" in node:
        return node.get("name")
    return node


def _bounded(size: int) -> int:
    if size > MAX_MESSAGE:
        raise CollectError(
            Reason.TOO_LARGE, f"sent a message of {size} bytes; at most {MAX_MESSAGE} are read (is it a scheduler?)"
        )
    return size
