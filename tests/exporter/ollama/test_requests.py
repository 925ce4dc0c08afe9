"""What is sent to Ollama, to the letter: a wrong request may load a model, or move when it goes."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.collectors.base import Answer
from exporter.collectors.ollama_answers import decode_installed, decode_loaded, decode_shown, decode_version
from exporter.collectors.ollama_generation import has_room, read_reply
from exporter.collectors.ollama_lease import Lease
from exporter.errors import CollectError, Reason
from tests.exporter.ollama.fakes import entry
from tests.exporter.ollama.scheduler import TIMEOUT, Bench, FakeOllama


def recorded(ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every call with its options, in order."""
    calls: list[tuple[str, dict[str, Any]]] = []
    ask = ollama.http.ask

    async def recording(path: str, **options: Any) -> Answer:
        calls.append((path, options))
        return await ask(path, **options)

    monkeypatch.setattr(ollama.http, "ask", recording)
    return calls


async def test_a_probe_is_one_raw_token_of_the_model_as_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    ollama = FakeOllama(context_length=4096)
    calls = recorded(ollama, monkeypatch)
    assert await Bench(ollama).scrape() == "ok"
    [sent] = [options for path, options in calls if path == "/api/generate"]
    body = sent.pop("json")
    assert sent == {"method": "POST", "timeout": TIMEOUT}
    assert float(body.pop("keep_alive").removesuffix("s")) == pytest.approx(295, abs=0.5)  # 5 s after the last look
    options = {"num_predict": 1, "num_ctx": 4096}
    assert body == {"model": "m", "stream": False, "prompt": "a", "raw": True, "options": options}
    # The calls around it are bounded too; those of the scrape itself by its deadline.
    assert [sent["timeout"] for path, sent in calls if path == "/api/ps" and sent["timeout"] is not None] == [5.0, 5.0]


async def test_the_expiry_is_put_back_by_a_request_without_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    ollama = FakeOllama()
    ollama.takes = 20
    ollama.reply = {"done": True, "total_duration": 20_000_000_000, "eval_duration": 20_000_000_000}
    calls = recorded(ollama, monkeypatch)
    assert await Bench(ollama).scrape() == "ok"
    _, settling = [options for path, options in calls if path == "/api/generate"]
    body = settling.pop("json")
    assert settling == {"method": "POST", "timeout": 5.0}
    assert float(body.pop("keep_alive").removesuffix("s")) == pytest.approx(275, abs=0.5)
    assert body == {"model": "m", "stream": False, "options": {"num_predict": 1}}


@pytest.mark.parametrize(
    ("answer", "result", "incapable"),
    [
        (Answer(404, "", b"{}"), None, False),
        (Answer(400, "", b'{"error":"m does not support generate"}'), None, True),
        (Answer(400, "", b'{"error":"bad"}'), "failed", False),
        (Answer(500, "", b'{"error":"m does not support generate"}'), "failed", False),
        (Answer(503, "", b'{"done":true}'), "busy", False),
        (Answer(500, "", b'{"done":true}'), "failed", False),
        (Answer(200, "", b'{"done":false}'), "failed", False),
        (Answer(200, "", b"[1]"), "failed", False),
        (Answer(200, "", b"{"), "failed", False),
        (Answer(200, "", b'{"done":true,"load_duration":1000000000}'), "ok", False),
        (Answer(200, "", b'{"done":true,"load_duration":1100000000}'), "reloaded", False),
    ],
)
def test_a_reply_is_judged(answer: Answer, result: str | None, *, incapable: bool) -> None:
    reply = read_reply(answer)
    assert (reply.result, reply.incapable) == (result, incapable)


def test_a_reply_tells_how_long_it_queued_and_worked() -> None:
    body = b'{"done":true,"total_duration":9e9,"load_duration":5e8,"prompt_eval_duration":1e9,"eval_duration":2e9}'
    reply = read_reply(Answer(200, "application/json", body))
    assert (reply.queued, reply.worked) == (pytest.approx(5.5), pytest.approx(3))
    assert read_reply(Answer(200, "", b'{"done":true}'))[2:] == (0, 0)


def test_there_is_room_for_a_probe_to_the_second() -> None:
    lease = Lease()
    assert not has_room(lease, 1000, 30)
    lease.saw(1000, 1035, None)
    assert has_room(lease, 1000, 30)
    assert not has_room(lease, 1000.001, 30)


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_the_books_hold_when_the_clocks_differ(skew: float) -> None:
    lease = Lease()
    lease.saw(1000, 1600 + skew, None)
    lease.used(500, 1600 + skew, 1501 + skew, 1001)  # our request ended at 1001 by our clock: the skew is known now
    assert lease.left(1001) == pytest.approx(599)
    lease.saw(1011, 1505 + skew, 1002)  # somebody's request ended at 1005 and inherited our 500 s
    assert lease.due == pytest.approx(1005 + skew + (600 + skew if 600 + skew > 510 else 500))
    lease.extended(1020)
    assert lease.left(1020) == pytest.approx(max(600 + skew, 300))


def test_nothing_is_owed_before_a_request_of_ours() -> None:
    lease = Lease()
    assert lease.owes(1000) is None
    lease.saw(1000, 1600, None)
    assert lease.owes(1000) is None
    assert lease.forever is False
    lease.used(50, 1600, None, 1001)
    lease.saw(1002, None, 1000)
    assert lease.owes(1002) is None


@pytest.mark.parametrize(
    ("decode", "body", "message"),
    [
        (decode_version, {"version": ""}, "/api/version has no version; is this an Ollama server?"),
        (decode_installed, {"models": 1}, "/api/tags has no list of models; is this an Ollama server?"),
        (decode_loaded, [], "/api/ps has no list of models; is this an Ollama server?"),
        (decode_shown, None, "/api/show gave no object; is this an Ollama server?"),
    ],
)
def test_another_systems_answer_is_named(decode: Any, body: object, message: str) -> None:
    with pytest.raises(CollectError) as caught:
        decode(body)
    assert (caught.value.reason, str(caught.value)) == (Reason.SHAPE, message)


@pytest.mark.parametrize("field", ["remote_host", "remote_model"])
def test_either_remote_field_makes_a_cloud_model(field: str) -> None:
    models = decode_installed({"models": [entry("far") | {field: "x"}, entry("near")]}).models
    assert (models["far"].cloud, models["near"].cloud) == (True, False)


@pytest.mark.parametrize("field", ["name", "model"])
def test_either_name_will_do(field: str) -> None:
    other = {"name": "model", "model": "name"}[field]
    assert list(decode_installed({"models": [{field: "m", other: 7}]}).models) == ["m"]
    assert list(decode_installed({"models": [{"name": "first", "model": "second"}]}).models) == ["first"]


def test_gpu_memory_is_0_only_where_the_size_is_known() -> None:
    models = decode_loaded({"models": [{"name": "a"}, {"name": "b", "size": 5}]}).models
    assert (models["a"].vram, models["b"].vram) == (None, 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-01T00:00:01Z", 1), ("1970-01-01T00:00:00Z", None), ("2026-11-23T01:00:00", None), ("x", None)],
)
def test_a_moment_is_known_with_its_zone_only(text: str, seconds: float | None) -> None:
    [model] = decode_installed({"models": [entry("m") | {"modified_at": text}]}).models.values()
    assert model.modified == seconds
