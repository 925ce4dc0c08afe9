"""Whatever a server answers, a collection gives families or a CollectError, nothing else."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.base import Answer
from exporter.collectors.ollama_answers import decode_installed, decode_loaded, decode_shown, decode_version
from exporter.collectors.ollama_generation import read_reply
from exporter.errors import CollectError
from exporter.families import encode
from tests.exporter.golden import assert_parses
from tests.exporter.ollama.fakes import FakeHttp, collector

KEYS = [
    *("models", "name", "model", "digest", "size", "size_vram", "modified_at", "expires_at", "remote_host", "version"),
    *("details", "family", "format", "parameter_size", "quantization_level", "capabilities", "context_length"),
    *("model_info", "general.architecture", "llama.context_length", "done", "load_duration"),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-23", "llama", "a"])
    | st.just(10**400)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=20,
)
ENTRY = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8)
LISTS = JSON | st.fixed_dictionaries({"models": st.lists(ENTRY | JSON, max_size=5)})


@given(LISTS)
@pytest.mark.parametrize("decode", [decode_version, decode_installed, decode_loaded, decode_shown])
def test_decoders_raise_nothing_else(decode: object, body: object) -> None:
    with contextlib.suppress(CollectError):
        decode(body)  # type: ignore[operator]


@given(st.integers(100, 599), st.binary(max_size=40) | JSON.map(lambda data: json.dumps(data).encode()))
def test_reply_to_a_generation(status: int, body: bytes) -> None:
    reply = read_reply(Answer(status, "application/json", body))
    assert reply.result != "ok" or status == 200


@given(LISTS, LISTS, JSON)
async def test_families_of_anything_can_be_read(tags: object, processes: object, shown: object) -> None:
    bodies = {"/api/tags": tags, "/api/ps": processes, "/api/show": shown}
    http = FakeHttp({path: Answer(200, "application/json", json.dumps(body).encode()) for path, body in bodies.items()})
    ollama = collector(http, must_be_loaded=["a"])
    families = []
    for part in ollama.parts().values():
        try:
            families += await part.ask()
        except CollectError:
            continue
    families += ollama.standing()
    assert_parses(encode(families, openmetrics=False), encode(families, openmetrics=True) + "# EOF\n")
