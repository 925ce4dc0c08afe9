"""JSON in pieces gives what the standard library gives in one, whatever is longer than the window."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.client import json_body

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TREES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6), max_leaves=30
)


def outcome(read: Callable[[bytes], object], body: bytes) -> str:
    try:
        return repr(read(body))
    except ValueError as error:
        return f"refused: {getattr(error, 'msg', type(error).__name__)}"


@given(TREES, st.integers(1, 40), st.sampled_from([None, 1]))
def test_it_is_the_same_value_with_a_window_of_any_length(tree: object, window: int, indent: int | None) -> None:
    body = json.dumps(tree, indent=indent).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_WINDOW", window)
        assert outcome(json_body.loads_in_pieces, body) == outcome(json_body.loads, body)


@given(TREES, st.integers(1, 40), st.data())
def test_broken_json_is_refused_by_both(tree: object, window: int, data: st.DataObject) -> None:
    text = json.dumps(tree)
    at = data.draw(st.integers(0, len(text) - 1))
    body = text[:at] + data.draw(st.sampled_from(["", "}", "]", ",", '"', "x", "-", "1", "\\", "NaN"])) + text[at + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_WINDOW", window)
        assert outcome(json_body.loads_in_pieces, body.encode()) == outcome(json_body.loads, body.encode())


@pytest.mark.parametrize(
    "body",
    [
        b" 12345678901234567890 ",
        b'"' + b"a" * 200_000 + b'"',
        b'{"a": [' + b"1.25, " * 60_000 + b"-3e5]}",
        b"[" * 300 + b'"deep"' + b", 1]" * 300,
        '{"\u00e9\U0001f600": "\ud800"}'.encode("utf-8", "surrogatepass") + b" " * 100_000,
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_longer_than_the_window(body: bytes) -> None:
    assert json_body.loads_in_pieces(body) == json.loads(body)


@pytest.mark.parametrize("read", [json_body.loads, json_body.loads_in_pieces])
@pytest.mark.parametrize("body", [b"", b"  ", b"[1] 2", b'{"a": NaN}', b"[Infinity]", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_json(read: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read(body)


@pytest.mark.parametrize("read", [json_body.loads, json_body.loads_in_pieces])
def test_what_would_unfold_to_too_much(read: Callable[[bytes], object]) -> None:
    with pytest.raises(json_body.TooMuchError):
        read(b"[" + b"{}," * 1_000_000 + b"1]")


def test_lists_in_lists_longer_than_the_window_are_not_decoded_for_each_of_them() -> None:
    """Twelve MiB of these took two minutes of the one thread that large answers of all targets share."""
    filled = b"[" * 150 + b"1" + b",1" * 40_000 + b"]" * 150
    body = b"[" + b",".join([filled] * 20) + b"]"
    began = time.process_time()
    with pytest.raises(json_body.TooMuchError, match="minutes"):
        json_body.loads_in_pieces(body)
    assert time.process_time() - began < 2


def test_each_value_is_decoded_once_and_a_second_time_where_a_window_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    scan_once = json_body._scan_once

    def counted(text: str, at: int) -> tuple[Any, int]:
        nonlocal calls
        calls += 1
        return scan_once(text, at)

    monkeypatch.setattr(json_body, "_scan_once", counted)
    whole = {"models": [{"name": "x" * 100, "size": number} for number in range(5_000)]}
    body = json.dumps(whole).encode()
    assert json_body.loads_in_pieces(body) == whole
    assert 5_000 < calls <= 5_000 + 5 + len(body) // json_body._WINDOW


@pytest.mark.parametrize("filler", ["", "x" * 100_000], ids=["in a window", "beyond one"])
def test_control_characters_in_names_are_refused(filler: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        json_body.loads_in_pieces(b'{"first": "%s", "a\nb": 1}' % filler.encode())


@given(st.integers(1, 12), st.integers(1, 50))
def test_honest_depth_is_decoded(depth: int, count: int) -> None:
    tree: object = {"name": "x" * 1_000, "sizes": [1.5] * 200}
    for _ in range(depth):
        tree = {"inner": [tree, {"a": 1}]}
    whole = {"models": [tree] * count}
    assert json_body.loads_in_pieces(json.dumps(whole).encode()) == whole
