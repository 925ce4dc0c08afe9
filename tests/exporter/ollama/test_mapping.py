from __future__ import annotations

import json

import pytest

from exporter.collectors.base import Answer, NativeEndpoint, Outcome
from exporter.errors import CollectError, Reason
from tests.exporter.golden import Golden
from tests.exporter.ollama.fakes import Clock, FakeHttp, collector, entry, fixture, look, stamp

TINY = '{model="tiny:latest"}'


def recorded(version: str, ps: str = "ps") -> FakeHttp:
    return FakeHttp(
        {
            "/api/version": fixture(version, "version"),
            "/api/tags": fixture(version, "tags"),
            "/api/ps": fixture(version, ps),
            "/api/show": fixture(version, "show"),
        }
    )


async def test_golden_of_0_6_5(golden: Golden) -> None:
    ollama = collector(recorded("0.6.5"), must_be_loaded=["tiny", "llama3.1:8b"])
    await look(ollama)  # capabilities are known from the second look on
    await golden.check(ollama, "0.6.5")


async def test_golden_of_0_17_4_with_the_probe(golden: Golden) -> None:
    http = recorded("0.17.4")
    http.answers["/api/generate"] = fixture("0.17.4", "generate-nostream")
    recorded_at = Clock(1_795_386_317.0)
    ollama = collector(http, recorded_at, must_be_loaded=["tiny"], generation_probe={"enabled": True})
    await look(ollama)
    await look(ollama, "loaded")
    assert ollama._probes is not None
    await ollama._probes.idle()
    await golden.check(ollama, "0.17.4")


async def test_loaded_model_of_0_17_4() -> None:
    seen = await look(collector(recorded("0.17.4")))
    assert seen["ollama_loaded_model_size_bytes"] == {TINY: 1450752}
    assert seen["ollama_loaded_model_vram_bytes"] == {TINY: 0}
    assert seen["ollama_loaded_model_cpu_bytes"] == {TINY: 1450752}
    assert seen["ollama_loaded_model_context_tokens"] == {TINY: 2048}
    assert seen["ollama_loaded_model_expires_timestamp_seconds"] == {TINY: 1795386584.092188}
    assert seen["ollama_loaded_model_kept_forever"] == {TINY: 0}


@pytest.mark.parametrize("version", ["0.6.5", "0.17.4"])
async def test_kept_for_ever_has_no_expiry(version: str) -> None:
    seen = await look(collector(recorded(version, "ps-forever")), "loaded")
    assert seen["ollama_loaded_model_expires_timestamp_seconds"] == {}
    assert seen["ollama_loaded_model_kept_forever"] == {TINY: 1}


async def test_context_is_absent_where_ollama_does_not_tell_it() -> None:
    seen = await look(collector(recorded("0.6.5")), "loaded")
    assert seen["ollama_loaded_model_context_tokens"] == {}


async def test_offload_is_what_is_not_in_vram() -> None:
    models = [
        entry("split", size=100, size_vram=60),
        entry("early", size=100),  # size_vram left out when 0
        entry("odd", size=100, size_vram=120),
        entry("broken", size=100, size_vram="60"),
        entry("unknown", size=None),
    ]
    seen = await look(collector(FakeHttp({"/api/ps": {"models": models}})), "loaded")
    assert seen["ollama_loaded_model_cpu_bytes"] == {
        '{model="split"}': 40,
        '{model="early"}': 100,
        '{model="odd"}': 0,
    }
    assert '{model="broken"}' not in seen["ollama_loaded_model_vram_bytes"]
    assert '{model="unknown"}' not in seen["ollama_loaded_model_size_bytes"]


async def test_cloud_models_are_told_apart_and_never_asked_about() -> None:
    http = FakeHttp(
        {
            "/api/tags": {
                "models": [
                    entry("gpt-oss:120b-cloud", remote_host="https://ollama.com:443", remote_model="gpt-oss:120b"),
                    entry("tiny:latest"),
                ]
            },
            "/api/show": {"capabilities": ["completion"]},
        }
    )
    seen = await look(collector(http))
    assert seen["ollama_models_installed"] == {'{location="local"}': 1, '{location="cloud"}': 1}
    assert '{location="cloud",model="gpt-oss:120b-cloud"}' in seen["ollama_model_info"]
    assert [body for path, body in http.calls if path == "/api/show"] == [{"model": "tiny:latest"}]
    assert seen["ollama_models_not_described"] == {"": 0}


async def test_details_that_are_missing_or_mistyped_leave_no_label() -> None:
    details = {"family": 7, "format": "gguf", "parameter_size": "", "quantization_level": "unknown"}
    models = [entry("a", details=details), entry("b", details=None), entry("c", modified_at="0001-01-01T00:00:00Z")]
    seen = await look(collector(FakeHttp({"/api/tags": {"models": models}})), "installed")
    assert set(seen["ollama_model_info"]) == {
        '{format="gguf",location="local",model="a"}',
        '{location="local",model="b"}',
        '{location="local",model="c"}',
    }
    assert seen["ollama_model_modified_timestamp_seconds"] == {}


async def test_broken_and_doubled_entries_are_counted_and_lose_no_other() -> None:
    models = [entry("a"), 7, None, {}, {"name": 3}, {"name": ""}, entry("a", size=5), {"model": "b", "size": -1}]
    http = FakeHttp({"/api/tags": {"models": models}, "/api/ps": {"models": models}})
    seen = await look(collector(http), "installed", "loaded")
    assert seen["ollama_installed_models_left_out"] == {"": 6}
    assert seen["ollama_loaded_models_left_out"] == {"": 6}
    assert seen["ollama_model_size_bytes"] == {'{model="a"}': 1000}
    assert seen["ollama_models_loaded"] == {"": 2}


@pytest.mark.parametrize("body", [None, [], "models", {}, {"models": 3}, {"models": {"a": 1}}, {"version": ""}])
@pytest.mark.parametrize(
    ("part", "path"), [("version", "/api/version"), ("installed", "/api/tags"), ("loaded", "/api/ps")]
)
async def test_a_wrong_shape_is_an_error(body: object, part: str, path: str) -> None:
    http = FakeHttp({path: Answer(200, "application/json", json.dumps(body).encode())})
    with pytest.raises(CollectError, match="is this an Ollama server") as error:
        await collector(http).parts()[part].ask()
    assert error.value.reason == Reason.SHAPE


async def test_a_null_list_is_an_empty_one() -> None:
    http = FakeHttp({"/api/tags": {"models": None}, "/api/ps": {"models": None}})
    seen = await look(collector(http))
    assert seen["ollama_models_loaded"] == {"": 0}


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ("tiny", "tiny:latest"),
        ("tiny:latest", "tiny"),
        ("Llama3.1:8B", "llama3.1:8b"),
        ("library/tiny", "tiny:latest"),
        ("registry.ollama.ai/library/tiny:latest", "tiny:latest"),
        ("hf.co/bartowski/Some-GGUF:Q4_K_M", "hf.co/bartowski/Some-GGUF:Q4_K_M"),
        ("host:5000/me/tiny", "host:5000/me/tiny:latest"),
    ],
)
async def test_required_models_match_however_they_are_written(wanted: str, shown: str) -> None:
    http = FakeHttp({"/api/ps": {"models": [entry(shown)]}})
    ollama = collector(http, must_be_loaded=[wanted, "absent"])
    seen = (await look(ollama, "loaded"))["ollama_model_required_loaded"]
    assert seen.pop('{model="absent:latest"}') == 0
    assert list(seen.values()) == [1]


async def test_required_written_twice_is_one_series() -> None:
    seen = await look(collector(FakeHttp({}), must_be_loaded=["TINY", "tiny:latest", "tiny"]), "loaded")
    assert seen["ollama_model_required_loaded"] == {TINY: 0}


async def test_expiry_in_the_past_is_shown() -> None:
    clock = Clock()
    http = FakeHttp({"/api/ps": {"models": [entry("a", expires_at=stamp(clock() - 30))]}})
    seen = await look(collector(http, clock), "loaded")
    assert seen["ollama_loaded_model_expires_timestamp_seconds"] == {'{model="a"}': clock() - 30}


async def test_a_native_metrics_page_is_listed_and_not_copied() -> None:
    page = b"# HELP ollama_requests_queued x\nollama_requests_queued 1\n"
    http = FakeHttp({"/metrics": Answer(200, "text/plain", page)})
    ollama = collector(http)
    assert ollama.native_endpoints() == []
    seen = await look(ollama)
    assert seen["ollama_native_metrics"] == {"": 1}
    assert "ollama_requests_queued" not in seen
    assert ollama.native_endpoints() == [NativeEndpoint("10.0.0.7:11434")]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, "text/plain", b"404 page not found"),
        Answer(200, "text/html", b"<html>\nollama_x 1"),
        Answer(200, "text/plain", b"go_goroutines 7\n# about ollama_x"),
        Answer(503, "text/plain", b"ollama_x 1\n"),
    ],
)
async def test_other_answers_are_no_native_metrics(answer: Answer) -> None:
    ollama = collector(FakeHttp({"/metrics": answer}))
    assert (await look(ollama, "native"))["ollama_native_metrics"] == {"": 0}
    assert ollama.native_endpoints() == []


async def test_native_metrics_are_looked_for_rarely() -> None:
    assert collector(FakeHttp({})).parts()["native"].keep == 300


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://[::1]:11434", NativeEndpoint("[::1]:11434")),
        ("https://ollama.lan/api-of/gpu", NativeEndpoint("ollama.lan:443", scheme="https", path="/api-of/gpu/metrics")),
    ],
)
async def test_native_endpoint_follows_the_address(url: str, endpoint: NativeEndpoint) -> None:
    http = FakeHttp({"/metrics": Answer(200, "application/openmetrics-text", b"ollama_x 1\n# EOF\n")})
    ollama = collector(http)
    ollama._target = ollama._target.model_copy(update={"url": url})
    await look(ollama, "native")
    assert ollama.native_endpoints() == [endpoint]


def test_up_means_the_api_answered() -> None:
    ollama = collector(FakeHttp({}))
    fine, refused = Outcome(0.1), Outcome(0.1, CollectError(Reason.FORBIDDEN, "no"))
    broken = Outcome(0.1, CollectError(Reason.SHAPE, "no"))
    down = dict.fromkeys(ollama.part_names, broken)
    assert not ollama.is_up(down | {"native": fine})
    assert ollama.is_up(down | {"version": fine})
    assert ollama.is_up(down | {"loaded": refused})


def test_parts_are_those_announced() -> None:
    ollama = collector(FakeHttp({}))
    assert tuple(ollama.parts()) == ollama.part_names


async def test_the_lists_are_asked_once_a_collection() -> None:
    http = recorded("0.17.4")
    await look(collector(http))
    assert [http.count(path) for path in ("/api/version", "/api/tags", "/api/ps", "/api/show")] == [1, 1, 1, 1]
