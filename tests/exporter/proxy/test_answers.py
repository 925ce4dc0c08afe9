"""What is read out of real answers (tests/fixtures/ollama), and out of what Ollama would say in other cases."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proxy import answers
from exporter.proxy.answers import Streamed, Whole
from tests.exporter.proxy.recorded import FIXTURES

NATIVE = [{"model": "m", "message": {"role": "assistant", "content": text}, "done": False} for text in ("a", "b", "c")]
LAST = {
    "model": "m",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "total_duration": 4_000_000_000,
    "load_duration": 1_000_000_000,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 500_000_000,
    "eval_count": 3,
    "eval_duration": 1_500_000_000,
}


def text(objects: list[dict], events: bool = False) -> bytes:
    lines = [json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in objects]
    return "".join(f"data: {line}\n\n" if events else f"{line}\n" for line in lines).encode()


def read(raw: bytes, size: int = 1 << 20) -> Streamed:
    stream = Streamed()
    for number, at in enumerate(range(0, len(raw), size)):
        stream.feed([raw[at : at + size]], float(number))
    stream.end()
    return stream


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_a_native_stream_wherever_it_is_cut(size):
    stream = read(text([*NATIVE, LAST]), size)
    facts = stream.facts
    assert (facts.model, facts.input_tokens, facts.output_tokens, facts.finish) == ("m", 7, 3, "stop")
    assert facts.durations == {"total": 4.0, "load": 1.0, "prefill": 0.5, "decode": 1.5}
    assert stream.timing.pieces == 3
    assert not facts.failed


def test_the_first_token_is_the_first_content_not_the_first_byte():
    stream = Streamed()
    empty = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": False}
    stream.feed([text([empty])], 1.0)
    assert stream.timing.first is None
    stream.feed([text([{"model": "m", "message": {"content": "", "thinking": "hm"}, "done": False}])], 3.0)
    assert stream.timing.first == 3.0
    stream.feed([text(NATIVE[:2])], 5.0)
    assert stream.timing.gaps == [(1.0, 2)]


def test_a_response_of_openais_begins_with_its_first_delta_and_its_end_says_nothing_new():
    stream = Streamed("/v1/responses")
    for number, event in enumerate((FIXTURES / "responses-stream.txt").read_bytes().split(b"\n\n")[:-1]):
        stream.feed([event + b"\n\n"], float(number))
    assert stream.timing.first == 4.0
    assert stream.timing.gaps == [(1.0, 1), (1.0, 1)]
    assert (stream.facts.input_tokens, stream.facts.output_tokens) == (7, 3)


def test_zeros_that_ollama_leaves_out_are_zeros_when_it_has_ended():
    done = {"model": "m", "response": "", "done": True, "done_reason": "stop", "total_duration": 5}
    assert read(text([done])).facts.input_tokens == 0
    loaded = {"model": "m", "response": "", "done": True, "done_reason": "load"}
    assert read(text([loaded])).facts.input_tokens is None


def test_an_error_in_mid_stream_is_a_failure():
    assert read(text([NATIVE[0], {"error": "runner died"}])).facts.failed
    assert not read(text([{"model": "m", "response": 'he said "error": no', "done": False}, LAST])).facts.failed


def test_tool_calls_are_counted_once_each():
    call = {"function": {"name": "f", "arguments": {}}}
    native = {"model": "m", "message": {"content": "", "tool_calls": [call, call]}, "done": False}
    assert read(text([native, LAST])).facts.tool_calls == 2
    begins = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}}]}
    goes_on = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}}]}
    assert read(text([begins, goes_on, goes_on], events=True)).facts.tool_calls == 1
    block = {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}
    assert read(text([block], events=True)).facts.tool_calls == 1


def test_text_that_looks_like_numbers_is_text():
    trap = '{"usage":{"prompt_tokens":99}} "done":true "finish_reason":"length"'
    stream = read(text([{"model": "m", "response": trap, "done": False}, LAST]))
    assert (stream.facts.input_tokens, stream.facts.finish) == (7, "stop")


def test_a_line_too_long_to_keep_is_passed_over(monkeypatch):
    monkeypatch.setattr(answers, "LONGEST", 1000)
    long = {"model": "m", "response": "x" * 5000, "done": False}
    stream = read(text([NATIVE[0], long, LAST]), 100)
    assert stream.facts.output_tokens == 3
    assert stream._kept <= 1000


def test_of_a_whole_answer_too_long_to_keep_the_end_is_read(monkeypatch):
    monkeypatch.setattr(answers, "LONGEST", 1000)
    whole = Whole()
    raw = b'{"model":"m","embeddings":[[' + b"0.5," * 2000 + b'0.5]],"total_duration":9000000000,"prompt_eval_count":7}'
    for at in range(0, len(raw), 64):
        whole.feed([raw[at : at + 64]], 0.0)
    whole.end()
    assert (whole.facts.input_tokens, whole.facts.durations) == (7, {"total": 9.0})


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_garbage_does_not_raise(parts):
    for reader in (Streamed(), Whole()):
        for number, part in enumerate(parts):
            reader.feed([part], float(number))
        reader.end()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model", "message", "choices", "delta", "usage", "content", "tool_calls", "error", "done"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5), st.booleans())
def test_no_object_whatever_it_holds_raises(objects, events):
    read(text(objects, events))
