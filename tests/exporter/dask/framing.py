"""A message taken apart as a whole, for stand-ins; the client reads it piece by piece."""

from __future__ import annotations

from typing import Any

from exporter import dask_protocol as protocol


def split_block(block: bytes) -> tuple[bytes, int]:
    """Frame 0 of a block, and how many bytes of frames follow the block on the wire. Raises CollectError."""
    size = len(block)
    start = protocol.SIZE_BYTES * (1 + protocol.frame_count(block[: protocol.SIZE_BYTES], size))
    first, rest = protocol.frame_layout(block[protocol.SIZE_BYTES : start], size)
    return block[start : start + first], rest - (size - start - first)


def read_block(block: bytes) -> Any:
    """The value of frame 0. Raises CollectError."""
    return protocol.decode(split_block(block)[0])
