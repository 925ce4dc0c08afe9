"""The page of /probe?debug=true: what was asked, what was understood, and nothing secret."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter import debug
from exporter.client import recording as module
from exporter.client.recording import Recording, calling, recorded
from exporter.collectors.base import Part
from exporter.errors import CollectError, Reason
from exporter.families import Family
from exporter.fleet import Fleet
from exporter.web import TIMEOUT_HEADER
from provisioning.config.load import load
from tests.exporter.door.helpers import fleet_of, good, serving

SECRET = "SENTINEL-bearer-token"
LINE = re.compile(
    r" *\d+\.\d{3} s +(?:\d+\.\d{3} s|under way) +(\d+|-) +(\d+|-)  (\S+ \S+) at (\S+?)(?:: (.*))?$", re.MULTILINE
)


@asynccontextmanager
async def watching(folder: Path, *, hang: bool = False) -> AsyncIterator[tuple[str, str]]:
    """An exporter that watches an Ollama that knows its version, loses its tags, and may hang on the rest."""

    async def ollama(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        if request.path == "/api/version":
            return web.json_response({"version": "0.6.5"})
        if request.path == "/api/tags":
            return web.json_response({"error": f"token {SECRET} \x1b[31m"}, status=500)
        if hang:
            await asyncio.Event().wait()
        return web.json_response({"models": []})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", ollama)
    (folder / "token").write_text(SECRET)
    async with TestServer(application) as upstream:
        file = folder / "cluster-ai.yml"
        where = str(upstream.make_url(""))
        file.write_text(f'targets: {{ollama: [{{name: gpu, url: "{where}", bearer_token_file: token}}]}}')
        async with serving(Fleet(file, load(file))) as url:
            yield f"{url}/probe?target=gpu&debug=true", f"127.0.0.1:{upstream.port}"


async def test_it_tells_every_call_every_part_the_metrics_and_the_configuration(tmp_path):
    async with watching(tmp_path) as (url, where), aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
        assert answer.content_type == "text/plain"
    calls = {call: (status, size, at, error) for status, size, call, at, error in LINE.findall(text)}
    assert calls["GET /api/version"] == ("200", "20", where, "")
    assert calls["GET /api/tags"][0] == "500"
    assert "# What was understood" in text
    assert re.search(r"^\w+: failed after \d\.\d{3} s, server_error: .*500", text, re.MULTILINE)
    assert "\nollama_up 1.0\n" in text
    assert f"url: http://{where}" in text
    assert "bearer_token_file: <hidden>" in text
    assert SECRET not in text
    assert "\x1b" not in text


async def test_a_call_that_hangs_is_shown_as_such(tmp_path):
    headers = {TIMEOUT_HEADER: "1"}
    async with (
        watching(tmp_path, hang=True) as (url, where),
        aiohttp.ClientSession(headers=headers) as session,
        session.get(url) as answer,
    ):
        text = await answer.text()
    [(took, said)] = re.findall(rf"(\S+ \S+) +- +-  GET /api/ps at {where}(.*)$", text, re.MULTILINE)
    assert took == "under way" or said == ": no answer before the deadline"
    assert "no answer within 0.5 s" in text


async def test_it_waits_for_a_look_under_way_and_then_looks_itself(tmp_path):
    began, gate, asked = asyncio.Event(), asyncio.Event(), 0

    async def part() -> list[Family]:
        nonlocal asked
        asked += 1
        began.set()
        with calling(f"GET /{asked}", "x"):
            await gate.wait()
        return []

    async with serving(fleet_of(tmp_path, gpu=part)) as url, aiohttp.ClientSession() as session:
        first = asyncio.create_task(session.get(f"{url}/probe?target=gpu"))
        await began.wait()
        debug = asyncio.create_task(session.get(f"{url}/probe?target=gpu&debug=true"))
        await asyncio.sleep(0.05)
        assert asked == 1
        gate.set()
        assert (await first).status == 200
        text = await (await debug).text()
    assert [call for _, _, call, _, _ in LINE.findall(text)] == ["GET /2"]


async def test_a_failure_from_before_is_no_answer(tmp_path):
    fleet = fleet_of(tmp_path)
    watch = fleet.watches["gpu"]

    async def fails() -> list[Family]:
        raise CollectError(Reason.SECRET, "no key")

    watch.collector.script = {"version": good, "people": Part(fails, keep=60)}
    await watch.collect(5)
    text = debug.page(watch, fleet.config, await watch.collect(5), Recording())
    assert "people: failed after " in text
    assert "s, secret_unreadable: no key (at an earlier look; it is asked again after a while)" in text
    assert "answer kept" not in text.partition("# What was understood")[2]
    await fleet.close()


async def test_a_page_says_when_nothing_was_asked_and_when_calls_were_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_CALLS", 2)

    async def quiet() -> list[Family]:
        return []

    async def busy() -> list[Family]:
        for number in range(5):
            with calling(f"GET /{number}", "x"):
                pass
        return []

    async with serving(fleet_of(tmp_path, quiet=quiet, busy=busy)) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/probe?target=quiet&debug=true") as answer:
            assert "\nNothing: every answer was kept" in await answer.text()
        async with session.get(f"{url}/probe?target=busy&debug=true") as answer:
            text = await answer.text()
    assert [call for _, _, call, _, _ in LINE.findall(text)] == ["GET /0", "GET /1"]
    assert "\nand 3 more calls\n" in text


async def test_calls_are_noted_only_for_the_look_that_is_watched_and_not_without_end(monkeypatch):
    monkeypatch.setattr(module, "MOST_CALLS", 3)

    async def ask(number: int) -> None:
        with calling(f"GET /{number}", "x") as call:
            await asyncio.sleep(0)
            call.status = 200

    await ask(0)
    with recorded() as recording:
        await asyncio.gather(*(ask(number) for number in range(1, 6)))
        late = asyncio.create_task(ask(9))
    await ask(6)
    await late
    assert [call.what for call in recording.calls] == ["GET /1", "GET /2", "GET /3"]
    assert recording.more == 2
    assert all(call.status == 200 and call.seconds is not None for call in recording.calls)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CollectError(Reason.REFUSED, "x refuses"), "connection_refused: x refuses"),
        (asyncio.CancelledError(), "no answer before the deadline"),
        (RuntimeError(f"with {SECRET} in it"), "RuntimeError"),
    ],
)
def test_an_error_is_noted_without_text_from_elsewhere(error, said):
    with recorded() as recording, pytest.raises(type(error)), calling("GET /", "x"):
        raise error
    assert recording.calls[0].error == said
