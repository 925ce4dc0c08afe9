"""Reads an answer as it passes: when its first token came, how far apart the next ones, and what it says at last.

A stream is text of which few lines must be understood: those up to the first token, and those that carry numbers. The
rest is counted at the speed of C, by marks JSON cannot hold inside a text: there a quote has a backslash before it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from exporter.proxy.facts import Facts, has_token

LONGEST = 4 << 20
"""Bytes of one line, or of one whole answer, that are read; of longer ones only the end is."""
_END = 4096
# A piece of an answer, and what looks like one but is empty.
_TOKENS = tuple(
    (b'"%s":"' % name, b'"%s":""' % name)
    for name in (b"response", b"content", b"thinking", b"reasoning", b"text", b"partial_json")
)
# OpenAI's responses say everything again at the end, as `text`.
_RESPONSES_TOKENS = ((b'"delta":"', b'"delta":""'),)
RESPONSES = "/v1/responses"
# A line with one of these says more than a token.
_TELLING = re.compile(
    rb'"done":true|"usage"|"finish_reason":"|"stop_reason":"|"error"|"tool_calls"|"tool_use"|"function_call"|"model_length"'
)
_NUMBER = re.compile(
    rb'"(total_duration|load_duration|prompt_eval_duration|eval_duration|prompt_eval_count|eval_count|prompt_tokens|'
    rb'completion_tokens|input_tokens|output_tokens)": ?([0-9]{1,18})'
)


@dataclass(slots=True)
class Timing:
    """When tokens came, in the loop's seconds."""

    first: float | None = None
    last: float | None = None
    pieces: int = 0
    """Pieces of the answer so far; most dialects send one a token."""
    gaps: list[tuple[float, int]] = field(default_factory=list)
    """Seconds from one piece to the next, and how many pieces were that far apart."""

    def came(self, pieces: int, now: float) -> None:
        """So many more; those that came at once are taken to have been made evenly."""
        if pieces <= 0:
            return
        if self.first is None:
            self.first = now
        elif self.last is not None:
            self.gaps.append(((now - self.last) / pieces, pieces))
        self.last = now
        self.pieces += pieces


class Streamed:
    """An answer in lines: objects of their own (Ollama), or `data:` lines of events (OpenAI, Anthropic)."""

    def __init__(self, endpoint: str = "") -> None:
        self.facts = Facts()
        self.timing = Timing()
        self._tokens = _RESPONSES_TOKENS if endpoint == RESPONSES else _TOKENS
        self._partial: list[bytes] = []
        self._kept = 0  # bytes of it
        self._skipping = False  # inside a line too long to keep
        self._telling = 0

    def feed(self, content: list[bytes], now: float) -> None:
        """More of the body."""
        data = content[0] if len(content) == 1 else b"".join(content)
        end = data.rfind(b"\n") + 1
        if end:
            lines = b"".join((*self._partial, data[:end])) if self._partial else data[:end]
            self._partial.clear()
            self._kept = 0
            if self._skipping:
                lines, self._skipping = lines[lines.find(b"\n") + 1 :], False
            self._read(lines, now)
        self._keep(data[end:])

    def end(self) -> None:
        """The body is over; a line without an end is one all the same."""
        if self._partial and not self._skipping:
            self._note(b"".join(self._partial))

    def _keep(self, rest: bytes) -> None:
        if not rest or self._skipping:
            return
        self._partial.append(rest)
        self._kept += len(rest)
        if self._kept > LONGEST:
            self._partial.clear()
            self._kept, self._skipping = 0, True

    def _read(self, lines: bytes, now: float) -> None:
        if self.timing.first is None:
            self._until_first_token(lines, now)
        else:
            self.timing.came(self._count(lines), now)
        if _TELLING.search(lines):
            for line in lines.splitlines():
                if _TELLING.search(line):
                    self._note(line)

    def _until_first_token(self, lines: bytes, now: float) -> None:
        begin = 0
        while begin < len(lines):
            end = lines.find(b"\n", begin) + 1 or len(lines)
            said = _object(lines[begin:end])
            if said is not None:
                if self.facts.model is None and isinstance(said.get("model"), str):
                    self.facts.model = said["model"]
                if has_token(said):
                    self.timing.came(max(self._count(lines[begin:]), 1), now)
                    return
            begin = end

    def _count(self, lines: bytes) -> int:
        return sum(lines.count(full) - lines.count(empty) for full, empty in self._tokens)

    def _note(self, line: bytes) -> None:
        said = _object(line)
        if said is not None:
            self.facts.note(said)


class Whole:
    """An answer that is one object."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.timing = Timing()
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, content: list[bytes], now: float) -> None:  # noqa: ARG002 -- the whole has one time, its end
        """More of the body."""
        self._parts.extend(content)
        self._size += sum(map(len, content))
        if self._size > LONGEST:
            self._parts = [b"".join(self._parts)[-_END:]]

    def end(self) -> None:
        """The body is over."""
        data = b"".join(self._parts)
        said = _object(data) if self._size <= LONGEST else _numbers(data)
        if said is not None:
            self.facts.note(said)


def _numbers(data: bytes) -> dict[str, Any]:
    """What the end of a long answer says; its beginning, such as vectors, is not of interest."""
    return {name.decode(): int(value) for name, value in _NUMBER.findall(data)}


def _object(line: bytes) -> dict[str, Any] | None:
    text = line.removeprefix(b"data:").strip()
    if not text.startswith(b"{"):
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
