"""Shapes of Open WebUI's answers, and the words for wrong ones: they name the kind and never the value."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.collectors.base import Answer
from exporter.collectors.openwebui_answers import content, mapping, rows
from exporter.errors import CollectError, Reason

KINDS = [("secret", "a text"), (None, "null"), (7, "a bare value"), (True, "a bare value"), (0.5, "a bare value")]


@pytest.mark.parametrize(
    ("read", "value", "words"),
    [
        *((mapping, value, f"/x answered {kind} where an object belongs") for value, kind in KINDS),
        *((rows, value, f"/x answered {kind} where a list belongs") for value, kind in KINDS),
        (mapping, ["secret"], "/x answered a list where an object belongs"),
        (rows, {"key": "secret"}, "/x answered an object where a list belongs"),
    ],
)
def test_a_wrong_shape_is_named_by_its_kind(read: Any, value: object, words: str) -> None:
    with pytest.raises(CollectError) as caught:
        read(value, "/x")
    assert (caught.value.reason, str(caught.value)) == (Reason.SHAPE, words)


def test_odd_entries_of_a_list_are_passed_over() -> None:
    assert list(rows([{"a": 1}, None, "x", {}], "/x")) == [{"a": 1}, {}]
    assert mapping({"a": 1}, "/x") == {"a": 1}


def test_only_small_answers_are_decoded_at_once() -> None:
    assert content(Answer(200, "application/json", b"[" + b"1," * 1000 + b"1]")) == [1] * 1001
    assert content(Answer(200, "application/json", b"[" + b"1," * (2 << 20) + b"1]")) is None
