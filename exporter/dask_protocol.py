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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgpack

from exporter.errors import CollectError, Reason

SIZE_BYTES = 8
MAX_MESSAGE = 32 * 2**20  # ten thousand workers' identity is 13 MB, 2022.12's full event window about 10 MB
MAX_DECODED = 768 * 2**20  # bytes of Python objects: twenty thousand workers' identity is 600 MB by `_cost`
MAX_FRAMES = 1024
PIECE = 64 * 2**10  # bytes that are decoded at once: about two milliseconds
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
# Entries of a map whose keys may be anything: keys with one hash cost the square of it, 16 ms for a piece of such maps.
# A hook for larger ones is a call for each of thousands of maps, and takes half as long again.
_LARGE_MAP = 32
_LARGEST_MAP = 200_000  # entries; twice as many as the workers that are read. Two million take a second at once
_MOST_A_BYTE = _COSTS[0][0] + _POINTER
_LONGEST_MARK = max(map(len, _MARKS))
_BROKEN = (ValueError, TypeError, RecursionError, MemoryError, msgpack.UnpackException)
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


def frame_count(head: bytes, size: int) -> int:
    """How many frames a block of `size` bytes tells of, from its first eight.

    Raises CollectError: `too_large` above MAX_FRAMES, `protocol` when the block has no room for their sizes.
    """
    count: int = struct.unpack("<Q", head)[0]
    if count > MAX_FRAMES:
        raise CollectError(Reason.TOO_LARGE, f"sent a message of {count} frames; at most {MAX_FRAMES} are read")
    if count == 0 or SIZE_BYTES * (1 + count) > size:
        raise CollectError(Reason.PROTOCOL, "sent a message whose frame sizes are cut short")
    return count


def frame_layout(table: bytes, size: int) -> tuple[int, int]:
    """The size of frame 0, and how many bytes follow it on the wire (to be read and dropped).

    `table` are the sizes of the frames as they stand in a block of `size` bytes. Raises CollectError: `protocol` when
    sizes contradict each other, `too_large` above the limits.
    """
    sizes = struct.unpack(f"<{len(table) // SIZE_BYTES}Q", table)
    _bounded(sum(sizes))
    room = size - SIZE_BYTES - len(table)
    inside, present = 0, 0
    while present < len(sizes) and inside + sizes[present] <= room:
        inside += sizes[present]
        present += 1
    if present == 0 or inside != room:
        raise CollectError(Reason.PROTOCOL, "sent a message whose frames do not fill its block")
    return sizes[0], sum(sizes[1:])


class Frame:
    """Frame 0 as it comes in, piece by piece: first checked, then decoded.

    msgpack keeps the interpreter to itself while it decodes, so a large frame is never decoded at once: whoever drives
    this lets others have their turn between two pieces.
    """

    def __init__(self, size: int) -> None:
        """Of `size` bytes, none of which are here yet."""
        self._size = size
        self._pieces: list[bytes] = []
        self._cost = 0
        self._marked = False
        self._end = b""  # of the piece before, where a mark may begin
        # Walks the frame without building anything, so that an array that claims more elements than there are
        # bytes is refused before a list of that size is made.
        self._walker = msgpack.Unpacker(max_buffer_size=size, strict_map_key=False)
        self._whole = False

    def feed(self, piece: bytes) -> None:
        """The next bytes. Raises CollectError as `decode` does."""
        if self._size > MAX_DECODED // _MOST_A_BYTE:
            self._cost += _cost(piece)
        if self._cost > MAX_DECODED:
            what = f"sent {self._size} bytes that would take more than {MAX_DECODED >> 20} MiB of memory"
            raise CollectError(Reason.TOO_LARGE, what)
        seen = self._end + piece
        self._marked = self._marked or (b"__" in seen and any(mark in seen for mark in _MARKS))
        self._end = seen[-_LONGEST_MARK:]
        self._pieces.append(piece)
        try:
            self._walker.feed(piece)
            if not self._whole:
                self._walker.skip()
                self._whole = True
        except msgpack.OutOfData:
            pass  # more is to come
        except _BROKEN as error:
            raise _no_msgpack(error) from None

    def values(self) -> Iterator[Any]:
        """None after each piece but the last, then the value. Raises CollectError as `decode` does."""
        if not self._whole:
            raise CollectError(Reason.PROTOCOL, "sent a message that is cut short")
        try:
            if self._walker.tell() != self._size:
                raise msgpack.ExtraData(None, b"")
            if self._marked:
                yield from self._build(object_pairs_hook=_plain)
                return
            try:
                yield from self._build(max_map_len=_LARGE_MAP)
            except ValueError as error:
                if "max_map_len" not in str(error):
                    raise
                yield from self._build(object_pairs_hook=_map)
        except _BROKEN as error:
            if "max_map_len" in str(error):
                raise CollectError(Reason.TOO_LARGE, f"sent a map of more than {_LARGEST_MAP} entries") from None
            raise _no_msgpack(error) from None

    def _build(self, max_map_len: int = _LARGEST_MAP, **options: Any) -> Iterator[Any]:
        # Dask uses no extensions; making objects of them would take twenty times as long as anything else.
        unpacker = msgpack.Unpacker(
            max_buffer_size=self._size,
            max_map_len=max_map_len,
            use_list=False,
            strict_map_key=False,
            timestamp=1,
            ext_hook=_no_extension,
            **options,
        )
        for piece in self._pieces:
            unpacker.feed(piece)
            try:
                yield unpacker.unpack()
            except msgpack.OutOfData:
                yield None


def decode(frame: bytes) -> Any:
    """The msgpack value of a small frame 0: dicts, tuples, str, bytes, numbers.

    Sets read as tuples, enumerations as their name, nodes that need a pickle as None. Raises CollectError
    (`protocol`) for anything that is not one whole msgpack value, and `too_large` for one that would take more than
    MAX_DECODED.
    """
    whole = Frame(len(frame))
    whole.feed(frame)
    [value] = whole.values()
    return value


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


def _no_extension(_code: int, _data: bytes) -> None:
    """Nothing."""


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map; keys of a large one that are no text are made text.

    Tuples of numbers can be chosen so that all have the same hash, and a dictionary of a million such keys takes days.
    """
    if len(pairs) > _LARGE_MAP and not all(isinstance(key, str | bytes) for key, _ in pairs):
        return {key if isinstance(key, str | bytes) else repr(key): value for key, value in pairs}
    return dict(pairs)


def _plain(pairs: list[tuple[Any, Any]]) -> Any:
    node = _map(pairs)
    if any(mark in node for mark in _OUT_OF_BAND):
        return None
    if "__Set__" in node and isinstance(node.get("as-list"), Sequence):
        return node["as-list"]
    if "__Enum__" in node:
        return node.get("name")
    return node


def _no_msgpack(error: BaseException) -> CollectError:
    return CollectError(Reason.PROTOCOL, f"sent a message that is not msgpack: {type(error).__name__}")


def _bounded(size: int) -> int:
    if size > MAX_MESSAGE:
        raise CollectError(
            Reason.TOO_LARGE,
            f"sent a message of {size >> 20} MiB; at most {MAX_MESSAGE >> 20} are read, about 24,000 workers: split a"
            " larger cluster (docs/scaling.md); if it is smaller, is this a scheduler?",
        )
    return size
