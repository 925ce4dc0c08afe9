from __future__ import annotations

import asyncio

import pytest

from exporter.collectors.base import Answer
from exporter.errors import CollectError, Reason
from tests.exporter.ollama.fakes import FakeHttp, collector, entry, look
from tests.exporter.ollama.scheduler import FOREVER, TIMEOUT, Bench, FakeOllama

A_MOMENT = 0.3  # s an expiry may be off


async def test_off_unless_enabled() -> None:
    http = FakeHttp({"/api/ps": {"models": [entry("m")]}})
    seen = await look(collector(http))
    assert http.count("/api/generate") == 0
    assert not [name for name in seen if "probe" in name]


async def test_counters_exist_from_the_start() -> None:
    seen = await look(collector(FakeHttp({}), generation_probe={"enabled": True}))
    assert seen["ollama_generation_probes"] == {
        f'{{result="{result}"}}': 0 for result in ("ok", "busy", "hung", "reloaded", "failed")
    }
    assert seen["ollama_generation_probe_result"] == {}


async def test_a_token_is_ok() -> None:
    bench = Bench(FakeOllama())
    assert await bench.scrape() == "ok"
    seen = await look(bench.collector, "loaded")
    assert seen["ollama_generation_probe_result"] == {
        f'{{model="m",result="{result}"}}': float(result == "ok")
        for result in ("ok", "busy", "hung", "reloaded", "failed")
    }
    assert seen["ollama_generation_probe_duration_seconds"] == {'{model="m"}': pytest.approx(0.2)}
    assert seen["ollama_generation_probe_last_success_timestamp_seconds"] == {'{model="m"}': bench.ollama.clock()}
    assert seen["ollama_generation_probes"]['{result="ok"}'] == 1
    (body,) = bench.generations()
    assert body["stream"] is False
    assert body["options"] == {"num_predict": 1}


async def test_it_asks_no_more_often_than_configured() -> None:
    bench = Bench(FakeOllama(keep_alive=3600))
    for _ in range(34):  # nearly three minutes
        await bench.scrape()
    assert len(bench.generations()) == 3


@pytest.mark.parametrize("skew", [0, -40, 40])
async def test_the_expiry_stays_over_many_probes_whatever_the_clocks(skew: float) -> None:
    ollama = FakeOllama(skew=skew)
    due = ollama.expires
    bench = Bench(ollama)
    for _ in range(50):
        assert await bench.scrape() == "ok"
        assert ollama.expires == pytest.approx(due, abs=A_MOMENT)
    assert len(bench.generations()) >= 3


async def test_the_expiry_stays_when_ollama_books_a_request_after_its_answer() -> None:
    ollama = FakeOllama(keep_alive=200)
    ollama.books_after = 0.1
    due = ollama.expires
    bench = Bench(ollama)
    for _ in range(30):
        assert await bench.scrape() == "ok"
        ollama.pass_time(1)
        assert ollama.expires == pytest.approx(due, abs=A_MOMENT)


async def test_a_slow_token_is_made_good() -> None:
    ollama = FakeOllama()
    ollama.takes = 20
    ollama.reply = {"done": True, "total_duration": 20_000_000_000, "eval_duration": 20_000_000_000}
    due = ollama.expires
    bench = Bench(ollama)
    assert await bench.scrape() == "ok"
    assert ollama.expires == pytest.approx(due, abs=A_MOMENT)
    assert bench.settles() == 1


async def test_kept_for_ever_stays_so() -> None:
    ollama = FakeOllama(keep_alive=FOREVER)
    bench = Bench(ollama)
    for _ in range(30):
        assert await bench.scrape() == "ok"
    assert ollama.keep_alive == FOREVER
    assert [body["keep_alive"] for body in bench.generations()] == [-1, -1, -1]
    assert bench.settles() == 0


async def test_what_a_client_inherits_from_the_probe_is_given_back() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    for _ in range(30):
        await bench.scrape()
    assert ollama.keep_alive < 200, "the probe had to shorten it"
    ollama.pass_time(2)
    ollama.use()
    ended = ollama.time()
    await bench.scrape(3)
    assert ollama.expires == pytest.approx(ended + 300, abs=A_MOMENT)
    assert ollama.keep_alive == pytest.approx(300, abs=5)


async def test_a_keep_alive_of_the_clients_own_is_respected() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    await bench.scrape()
    ollama.use(keep_alive=1200)
    due = ollama.expires
    for _ in range(20):
        await bench.scrape()
    assert ollama.expires == pytest.approx(due, abs=A_MOMENT)
    ollama.use()
    ended = ollama.time()
    await bench.scrape()
    assert ollama.expires == pytest.approx(ended + 1200, abs=A_MOMENT)


async def test_giving_back_comes_to_an_end() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    for _ in range(30):
        await bench.scrape()
    ollama.use()
    await bench.scrape()
    settled = bench.settles()
    assert settled > 0
    bench.probes._settings = bench.probes._settings.model_copy(update={"every": 3600.0})
    ollama.pass_time(40)  # a new try would be allowed
    ollama.use()
    await bench.scrape()
    await bench.scrape(40)
    assert bench.settles() == settled


async def test_what_a_client_inherits_just_before_a_probe_is_given_back_too() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    for _ in range(30):
        await bench.scrape()
    probes = len(bench.generations())
    while not bench.probes._tasks:
        ollama.pass_time(5)
        await bench.collector.parts()["loaded"].ask()
    ollama.use()
    ended = ollama.time()
    await bench.probes.idle()
    await bench.scrape()
    assert len(bench.generations()) == probes + 1
    assert ollama.expires == pytest.approx(ended + 300, abs=A_MOMENT)


async def test_other_weights_are_another_model() -> None:
    ollama = FakeOllama()
    ollama.takes = 1000
    bench = Bench(ollama)
    assert await bench.scrape() == "hung"
    ollama.fields = {"digest": "other"}
    ollama.expires = ollama.time() + 10
    assert await bench.scrape() is None


async def test_alone_without_a_token_is_hung() -> None:
    ollama = FakeOllama()
    ollama.takes = 1000
    due = ollama.expires
    bench = Bench(ollama)
    assert await bench.scrape() == "hung"
    assert ollama.expires == pytest.approx(due, abs=A_MOMENT), "waiting for a hung model must not keep it longer"
    seen = await look(bench.collector, "loaded")
    assert seen["ollama_generation_probe_last_success_timestamp_seconds"] == {}
    assert seen["ollama_generation_probe_duration_seconds"] == {}


async def test_a_hang_ends() -> None:
    ollama = FakeOllama(keep_alive=3600)
    bench = Bench(ollama)
    ollama.takes = 1000
    await bench.scrape()
    ollama.takes = 0.1
    assert await bench.scrape(61) == "ok"


async def test_hung_though_kept_for_ever() -> None:
    ollama = FakeOllama(keep_alive=FOREVER)
    ollama.takes = 1000
    ollama.after(1, lambda: setattr(ollama, "expires", ollama.expires - 50))  # an hour ago somebody used it
    assert await Bench(ollama).scrape() == "hung"


async def test_a_long_generation_of_others_is_busy() -> None:
    ollama = FakeOllama()
    ollama.takes = 1000
    ollama.begin()
    bench = Bench(ollama)
    ollama.pass_time(100)
    assert await bench.scrape() == "busy"
    ollama.takes = 0.1
    ollama.end()
    ended = ollama.time()
    await bench.scrape(3)
    assert ollama.expires == pytest.approx(ended + 300, abs=A_MOMENT), "the probe's keep-alive was given back"


async def test_others_that_end_while_we_judge_are_busy() -> None:
    ollama = FakeOllama()
    ollama.takes = 1000
    ollama.begin()
    ollama.after(5 + TIMEOUT + 0.8, ollama.end)
    assert await Bench(ollama).scrape() == "busy"


async def test_a_token_after_a_queue_leaves_the_others_their_keep_alive() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    ollama.pass_time(100)
    ollama.takes = 20
    ollama.begin()
    ollama.after(5 + 19.5, ollama.end)  # one slot: we are served after them
    ollama.reply = {"done": True, "total_duration": 20_000_000_000, "eval_duration": 500_000_000}
    assert await bench.scrape() == "ok"
    assert ollama.expires == pytest.approx(ollama.time() - 0.5 + 300, abs=1)


async def test_a_runner_that_ollama_replaced_is_seen() -> None:
    ollama = FakeOllama()
    ollama.reply = {"done": True, "load_duration": 10_268_000_000, "total_duration": 10_269_000_000}
    bench = Bench(ollama)
    assert await bench.scrape() == "reloaded"
    for _ in range(40):
        ollama.use()
        await bench.scrape()
    assert len(bench.generations()) == 1, "it rests, because clients may use other options"


@pytest.mark.parametrize(("context", "result"), [(None, "reloaded"), (2048, "ok")])
async def test_another_size_tells_of_a_reload_where_the_context_is_not_told(context: int | None, result: str) -> None:
    ollama = FakeOllama(context_length=context)
    ollama.on_generate = lambda: ollama.fields.update(size=2000)
    assert await Bench(ollama).scrape() == result


async def test_a_model_whose_runner_ollama_throws_out_was_hung() -> None:
    ollama = FakeOllama()
    ollama.takes, ollama.timeout = 1000, 3
    bench = Bench(ollama)
    ollama.begin()  # our request waits for Ollama's ping of the runner, and never came to hold the model
    ollama.after(5 + 10, lambda: setattr(ollama, "loaded", False))
    await bench.scrape()
    seen = await look(bench.collector, "loaded")
    assert seen["ollama_generation_probes"]['{result="hung"}'] == 1
    assert seen["ollama_generation_probe_result"] == {}, "no series of a model that is not loaded"


async def test_a_model_about_to_expire_is_left_alone() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    ollama.pass_time(300 - 5 - TIMEOUT - 4)
    for _ in range(5):
        assert await bench.scrape() is None
    assert ollama.http.count("/api/generate") == 0


async def test_a_model_unloaded_between_scrape_and_probe_is_not_loaded() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    bench.ollama.pass_time(5)
    parts = bench.collector.parts()
    await parts["installed"].ask()
    await parts["loaded"].ask()
    ollama.loaded = False
    await bench.probes.idle()
    assert ollama.http.count("/api/generate") == 0
    assert ollama.loads == 0


@pytest.mark.parametrize("keep_alive", [300.0, FOREVER])
async def test_a_model_that_is_being_loaded_is_left_alone_until_it_is_there(keep_alive: float) -> None:
    ollama = FakeOllama(keep_alive=keep_alive)
    ollama.loading, ollama.takes = True, 1000
    bench = Bench(ollama)
    for _ in range(10):
        assert await bench.scrape() is None
    assert ollama.http.count("/api/generate") == 0
    ollama.loading, ollama.takes = False, 0.2
    ollama.use()
    assert await bench.scrape() == "ok"


async def test_a_model_used_up_between_scrape_and_probe_is_left_alone() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    bench.ollama.pass_time(5)
    parts = bench.collector.parts()
    await parts["installed"].ask()
    await parts["loaded"].ask()
    ollama.use(keep_alive=10)
    await bench.probes.idle()
    assert ollama.http.count("/api/generate") == 0


@pytest.mark.parametrize("fields", [{"expires_at": None}, {"expires_at": "soon"}, {"digest": "unknown"}])
async def test_a_model_of_which_too_little_is_known_is_left_alone(fields: dict[str, object]) -> None:
    bench = Bench(FakeOllama(**fields))
    assert await bench.scrape() is None
    assert bench.ollama.http.count("/api/generate") == 0


async def test_embedding_models_are_not_asked() -> None:
    ollama = FakeOllama()
    ollama.http.answers["/api/tags"] = {"models": [entry("m", capabilities=["embedding"])]}
    await Bench(ollama).scrape()
    assert ollama.http.count("/api/generate") == 0


async def test_a_model_that_cannot_generate_is_asked_once() -> None:
    ollama = FakeOllama()
    ollama.reply = Answer(400, "application/json", b'{"error":"\\"m\\" does not support generate"}')
    bench = Bench(ollama)
    for _ in range(30):
        assert await bench.scrape() is None
    assert len(bench.generations()) == 1


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (Answer(500, "application/json", b'{"error":"llama runner process has terminated"}'), "failed"),
        (Answer(503, "application/json", b'{"error":"server busy"}'), "busy"),
        (Answer(200, "text/html", b"<html>"), "failed"),
        ({"error": "an error was encountered while running the model"}, "failed"),
        ({"done": False}, "failed"),
        (Answer(404, "application/json", b'{"error":"model not found"}'), None),
    ],
)
async def test_other_answers(reply: Answer | dict[str, object], result: str | None) -> None:
    ollama = FakeOllama()
    ollama.reply = reply
    assert await Bench(ollama).scrape() == result


async def test_a_broken_connection_is_a_failure() -> None:
    ollama = FakeOllama()
    ollama.http.answers["/api/generate"] = CollectError(Reason.CONNECT, "reset")
    assert await Bench(ollama).scrape() == "failed"


@pytest.mark.parametrize(("takes", "result"), [(0.2, "ok"), (1000, None)])
async def test_a_list_that_fails_under_the_probe_hides_no_token_and_proves_no_hang(
    takes: float, result: str | None
) -> None:
    ollama = FakeOllama()
    ollama.takes = takes
    bench = Bench(ollama)

    def lost() -> None:
        ollama.http.answers["/api/ps"] = CollectError(Reason.TIMEOUT, "no")

    ollama.on_generate = lost
    assert await bench.scrape() == result


async def test_a_hang_is_told_though_the_expiry_cannot_be_put_back() -> None:
    ollama = FakeOllama()
    ollama.takes = 1000
    answer = ollama.generate

    def frozen(body: dict[str, object]) -> object:
        if "prompt" not in body:
            raise CollectError(Reason.TIMEOUT, "no")
        return answer(body)

    ollama.http.answers["/api/generate"] = frozen
    assert await Bench(ollama).scrape() == "hung"


@pytest.mark.parametrize(
    ("context", "trained", "options"),
    [
        (None, None, {"num_predict": 1}),
        (8192, None, {"num_predict": 1, "num_ctx": 8192}),
        (8192, 131072, {"num_predict": 1, "num_ctx": 8192}),
        (2048, 2048, {"num_predict": 1}),  # 0.17.4 shows the wish cut down to the trained context
    ],
)
async def test_the_context_is_the_one_it_was_loaded_with(
    context: int | None, trained: int | None, options: dict[str, int]
) -> None:
    ollama = FakeOllama(context_length=context)
    ollama.http.answers["/api/tags"] = {"models": [entry("m")]}
    ollama.http.answers["/api/show"] = {
        "capabilities": ["completion"],
        "model_info": {"general.architecture": "qwen3", "qwen3.context_length": trained},
    }
    bench = Bench(ollama)
    await bench.collector.parts()["capabilities"].ask()
    assert await bench.scrape() == "ok"
    assert bench.generations()[0]["options"] == options


async def test_nothing_is_asked_before_the_model_is_known() -> None:
    ollama = FakeOllama()
    ollama.http.answers["/api/tags"] = {"models": [entry("m")]}
    assert await Bench(ollama).scrape() is None


async def test_a_scrape_never_waits_for_a_generation() -> None:
    ollama = FakeOllama()
    bench = Bench(ollama)
    hanging = asyncio.Event()

    async def never(_: object) -> None:
        hanging.set()
        await asyncio.Event().wait()

    ollama.http.answers["/api/generate"] = never
    async with asyncio.timeout(5):
        await look(bench.collector)
        await hanging.wait()
        await look(bench.collector)
    assert len(bench.probes._tasks) == 1
    await bench.collector.close()
    assert not bench.probes._tasks
