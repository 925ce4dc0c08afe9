"""What an Ollama answer says of itself, in each dialect it speaks.

Native: docs/api.md of ollama/ollama (durations in nanoseconds; fields that are 0 are left out). OpenAI:
chat.completion, text_completion, embeddings and response objects with `usage`. Anthropic: message events with `usage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_NANO = 1e9
_DURATIONS = {
    "load_duration": "load",
    "prompt_eval_duration": "prefill",
    "eval_duration": "decode",
    "total_duration": "total",
}
_INPUT = ("prompt_eval_count", "prompt_tokens", "input_tokens")
_OUTPUT = ("eval_count", "completion_tokens", "output_tokens")
_DELTAS = frozenset({"text_delta", "thinking_delta", "input_json_delta"})  # Anthropic's, of a content block
_RESPONSE_DELTAS = (".delta",)  # OpenAI's responses: response.output_text.delta and its like


@dataclass(slots=True)
class Facts:
    """What is known of one answer; None is unknown."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: str | None = None
    """stop, length, tool_calls, end_turn, ... as the dialect calls it."""
    failed: bool = False
    """An error, perhaps after the answer had begun."""
    tool_calls: int = 0
    durations: dict[str, float] = field(default_factory=dict)
    """Seconds by phase: load, prefill, decode, total."""

    def note(self, said: Mapping[str, Any]) -> None:
        """Takes what one object of the answer says; a later one counts before an earlier."""
        self._note_names(said)
        self._note_numbers(said)
        for part in ("message", "response"):  # Anthropic's message_start, OpenAI's response.completed
            inner = said.get(part)
            if isinstance(inner, dict) and "usage" in inner:
                self.note(inner)
        self.tool_calls += sum(1 for _ in _tool_calls(said))

    def _note_names(self, said: Mapping[str, Any]) -> None:
        model = said.get("model")
        if isinstance(model, str) and model:
            self.model = model
        finish = next(_finishes(said), None)
        if finish:
            self.finish = finish
        if said.get("error") or said.get("type") in ("error", "response.failed"):
            self.failed = True

    def _note_numbers(self, said: Mapping[str, Any]) -> None:
        usage = said.get("usage")
        for source in (said, usage if isinstance(usage, dict) else {}):
            self.input_tokens = _count(source, _INPUT, self.input_tokens)
            self.output_tokens = _count(source, _OUTPUT, self.output_tokens)
        for key, name in _DURATIONS.items():
            value = said.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                self.durations[name] = value / _NANO
        if said.get("done") is True and "total" in self.durations:
            # Ollama leaves out what is 0: an answer of no token, a prompt that was all in the cache.
            self.input_tokens = self.input_tokens or 0
            self.output_tokens = self.output_tokens or 0


def has_token(said: Mapping[str, Any]) -> bool:
    """Whether an object of a stream brings something of the model's: text, thought or a tool call."""
    message = said.get("message")
    for part in (said, message if isinstance(message, dict) else {}):
        values = (part.get(key) for key in ("response", "content", "thinking", "tool_calls"))
        # OpenAI's responses have an object called response, from their first event on.
        if any(value and isinstance(value, str | list) for value in values) and "usage" not in part:
            return True
    return any(map(_choice_has_token, _dicts(said.get("choices")))) or _event_has_token(said)


def _choice_has_token(choice: Mapping[str, Any]) -> bool:
    delta = choice.get("delta")
    parts = (choice, delta if isinstance(delta, dict) else {})
    return any(part.get(key) for part in parts for key in ("text", "content", "reasoning", "tool_calls"))


def _event_has_token(said: Mapping[str, Any]) -> bool:
    kind, delta = said.get("type"), said.get("delta")
    if isinstance(delta, dict):
        return delta.get("type") in _DELTAS
    return isinstance(kind, str) and kind.endswith(_RESPONSE_DELTAS) and bool(delta)


def _finishes(said: Mapping[str, Any]) -> Iterator[str]:
    delta = said.get("delta")
    sources = (said, delta if isinstance(delta, dict) else {}, *_dicts(said.get("choices")))
    for source in sources:
        for key in ("done_reason", "finish_reason", "stop_reason"):
            if isinstance(value := source.get(key), str) and value:
                yield value


def _tool_calls(said: Mapping[str, Any]) -> Iterator[object]:
    """Tool calls that begin in this object; pieces of their arguments are not calls of their own."""
    message = said.get("message")
    holders = [said, message if isinstance(message, dict) else {}]
    for choice in _dicts(said.get("choices")):
        holders += [part for part in (choice.get("delta"), choice.get("message")) if isinstance(part, dict)]
    for holder in holders:
        for call in _dicts(holder.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, dict) and function.get("name"):
                yield call
        yield from (block for block in _dicts(holder.get("content")) if block.get("type") == "tool_use")
    block = said.get("content_block")
    if isinstance(block, dict) and block.get("type") == "tool_use":
        yield block
    item = said.get("item")
    if said.get("type") == "response.output_item.added" and isinstance(item, dict):
        yield from [item] if item.get("type") == "function_call" else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _count(source: Mapping[str, Any], names: tuple[str, ...], otherwise: int | None) -> int | None:
    for name in names:
        value = source.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return otherwise
