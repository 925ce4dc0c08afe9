"""Writes the smallest language model that a real Ollama serves: it knows the alphabet and never stops reciting it.

A GGUF file (version 3, see ggml/docs/gguf.md) of a Llama with one layer that adds nothing: the last letter's
embedding alone decides the next letter. So generation is fast, the same at any temperature, and as long as asked.
"""

from __future__ import annotations

import random
import struct
from array import array
from pathlib import Path

WIDTH, HEADS, INNER, CONTEXT = 64, 4, 128, 2048
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # token types
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9  # GGUF value types


def write_tiny_model(path: Path, title: str = "tiny") -> None:
    """Write the model to `path`, a quarter of a megabyte. Ollama takes one with another title for another model."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *LETTERS]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * 27]
    tensors = _tensors(len(tokens))
    fields = [
        _text("general.architecture", "llama"),
        _text("general.name", title),
        _count("llama.context_length", CONTEXT),
        _count("llama.embedding_length", WIDTH),
        _count("llama.block_count", 1),
        _count("llama.feed_forward_length", INNER),
        _count("llama.attention.head_count", HEADS),
        _count("llama.attention.head_count_kv", HEADS),
        _count("llama.rope.dimension_count", WIDTH // HEADS),
        _count("llama.vocab_size", len(tokens)),
        _field("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)),
        _text("tokenizer.ggml.model", "llama"),
        _list("tokenizer.ggml.tokens", _STRING, [_string(token) for token in tokens]),
        _list("tokenizer.ggml.scores", _FLOAT32, [struct.pack("<f", -1.0 if t == _NORMAL else 0.0) for t in types]),
        _list("tokenizer.ggml.token_type", _INT32, [struct.pack("<i", kind) for kind in types]),
        _count("tokenizer.ggml.unknown_token_id", 0),
        _count("tokenizer.ggml.bos_token_id", 1),
        _count("tokenizer.ggml.eos_token_id", 2),
    ]
    head = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(fields)) + b"".join(fields))
    offset = 0
    for name, (shape, values) in tensors.items():
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += len(_padded(values.tobytes()))
    path.write_bytes(_padded(bytes(head)) + b"".join(_padded(values.tobytes()) for _, values in tensors.values()))


def _tensors(vocabulary: int) -> dict[str, tuple[tuple[int, ...], array[float]]]:
    """Name to shape (fastest dimension first) and 32-bit values."""
    dice = random.Random(1)  # noqa: S311 -- weights, not secrets
    faces = {letter: [dice.choice((-1.0, 1.0)) for _ in range(WIDTH)] for letter in LETTERS}
    first = vocabulary - len(LETTERS)
    before = {letter: LETTERS[index - 1] for index, letter in enumerate(LETTERS)}
    silence = [0.0] * WIDTH * first
    # Whatever is no letter looks like a "z", so that an "a" follows it.
    seen = faces["z"] * first + [value for letter in LETTERS for value in faces[letter]]
    said = silence + [value for letter in LETTERS for value in faces[before[letter]]]
    square, ones = (WIDTH, WIDTH), [1.0] * WIDTH
    shapes: dict[str, tuple[tuple[int, ...], list[float]]] = {
        "token_embd.weight": ((WIDTH, vocabulary), seen),
        "output_norm.weight": ((WIDTH,), ones),
        "output.weight": ((WIDTH, vocabulary), said),
        "blk.0.attn_norm.weight": ((WIDTH,), ones),
        "blk.0.ffn_norm.weight": ((WIDTH,), ones),
        **{f"blk.0.attn_{part}.weight": (square, [0.0] * WIDTH * WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": ((WIDTH, INNER), [0.0] * WIDTH * INNER),
        "blk.0.ffn_up.weight": ((WIDTH, INNER), [0.0] * WIDTH * INNER),
        "blk.0.ffn_down.weight": ((INNER, WIDTH), [0.0] * WIDTH * INNER),
    }
    return {name: (shape, array("f", values)) for name, (shape, values) in shapes.items()}


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _field(key: str, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _text(key: str, value: str) -> bytes:
    return _field(key, _STRING, _string(value))


def _count(key: str, value: int) -> bytes:
    return _field(key, _UINT32, struct.pack("<I", value))


def _list(key: str, kind: int, items: list[bytes]) -> bytes:
    return _field(key, _ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)
