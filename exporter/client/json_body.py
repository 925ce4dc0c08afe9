"""JSON of an answer, decoded without keeping the interpreter for long.

Python's decoder runs in C and lets nobody else in until it is done: half a second for 16 MiB made to be slow. Here it
is given a window of the text at a time; only what is longer than the window is taken apart in Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.decoder import WHITESPACE, JSONArray, JSONObject  # type: ignore[attr-defined]
from typing import Any, NoReturn

MAX_DECODED = 128 << 20  # bytes of Python objects; 25,000 Ollama models, 12 MiB, are 103 by `_weigh`
# What one such character of JSON can make in memory at most: a map, a list, an entry, an element, half a text.
_COSTS = ((b"{", 240), (b"[", 64), (b":", 60), (b",", 40), (b'"', 30))
_NEVER_TOO_MUCH = MAX_DECODED // _COSTS[0][1]
_CUT = 2  # characters of a number that the end of a window can make meaningless
_WINDOW = 64 << 10  # characters: about a millisecond
# Windows that may be decoded in vain for each one of the text: as many as its values are deep where one ends, twice.
# Lists in lists that all end beyond the window would be decoded once for each level otherwise, for minutes.
_IN_VAIN = 16


class TooMuchError(ValueError):
    """The JSON would take more memory than MAX_DECODED, or minutes; `str()` says which."""


def loads(body: bytes) -> Any:
    """The value of a small body. Raises ValueError or RecursionError."""
    _weigh(body)
    return json.loads(body, parse_constant=_no_constant)


def loads_in_pieces(body: bytes) -> Any:
    """The same for a body of any size, for a thread."""
    _weigh(body)
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    try:
        value, end = _Windows(text).scan(text, _after_space(text, 0))
    except StopIteration as stop:
        raise json.JSONDecodeError("Expecting value", text, stop.value) from None
    if _after_space(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


class _Windows:
    """Scans values of one text; `scan` is what the standard library's JSONObject and JSONArray call for each value."""

    def __init__(self, text: str) -> None:
        self._start = 0
        self._window = text[:_WINDOW]
        self._left = _IN_VAIN * (8 + len(text) // _WINDOW)

    def scan(self, text: str, at: int) -> tuple[Any, int]:
        """The value that begins at `at`, and where it ends. Raises StopIteration where none does, and ValueError."""
        if not self._start <= at < self._start + len(self._window):
            self._move(text, at)
        found = self._inside(text, at)
        if found is None and self._start != at:
            self._move(text, at)
            found = self._inside(text, at)
        if found is not None:
            return found
        # Longer than a window, or broken.
        begin = text[at : at + 1]
        if begin == "{":
            found = JSONObject((text, at + 1), True, self.scan, None, None, {})
        elif begin == "[":
            found = JSONArray((text, at + 1), self.scan)
        else:
            found = _scan_once(text, at)
        return found

    def _move(self, text: str, at: int) -> None:
        self._start, self._window = at, text[at : at + _WINDOW]

    def _inside(self, text: str, at: int) -> tuple[Any, int] | None:
        """The value if it ends well inside the window: at its end `1.5e+` would read as 1.5."""
        try:
            value, end = _scan_once(self._window, at - self._start)
        except (StopIteration, ValueError):
            self._spend()
            return None
        end += self._start
        window_ends = self._start + len(self._window)
        return (value, end) if end + _CUT < window_ends or window_ends == len(text) else None

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMuchError("would take minutes to decode")


def _weigh(body: bytes) -> None:
    """Ten million empty maps are 30 MB of JSON and 1 GB of objects."""
    if len(body) > _NEVER_TOO_MUCH and sum(body.count(character) * cost for character, cost in _COSTS) > MAX_DECODED:
        raise TooMuchError(f"would take more than {MAX_DECODED >> 20} MiB of memory")


def _after_space(text: str, at: int) -> int:
    match = WHITESPACE.match(text, at)
    return match.end() if match else at


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_scan_once: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]
