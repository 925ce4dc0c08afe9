"""Deadlines, many scrapes at once, reloads under load: table rows 5, 7 and 19."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import aiohttp
import httpx
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.families import Family
from exporter.fleet import Fleet
from exporter.web import TIMEOUT_HEADER
from provisioning.config.load import load
from tests.exporter.door.helpers import fleet_of, serving


async def silent() -> list[Family]:
    await asyncio.Event().wait()
    return []


async def test_a_hanging_target_is_answered_for_before_prometheus_gives_up(tmp_path):
    headers = {f"t{number}": text for number, text in enumerate(("0.6", "0.8", "1", "1.5", "2", "3"))}
    taken: dict[str, float] = {}

    async def scrape(name: str, header: str) -> None:
        for _ in range(3):  # a busy machine may be late once
            began = time.monotonic()
            async with session.get(f"{url}/probe?target={name}", headers={TIMEOUT_HEADER: header}) as answer:
                text = await answer.text()
            taken[header] = time.monotonic() - began
            assert answer.status == 200
            assert "ollama_up 0.0" in text
            if taken[header] <= float(header) - 0.3:
                return

    fleet = fleet_of(tmp_path, **dict.fromkeys(headers, silent))
    async with serving(fleet) as url, aiohttp.ClientSession() as session:
        await asyncio.gather(*(scrape(name, header) for name, header in headers.items()))
    late = {header: seconds for header, seconds in taken.items() if seconds > float(header) - 0.3}
    assert not late


async def test_a_header_that_makes_no_sense_leaves_the_targets_own_timeout(tmp_path):
    nonsense = ["abc", "-1", "nan", "1e9", "inf", "0", "", "9" * 400]
    fleet = fleet_of(tmp_path, "1s", **{f"t{number}": silent for number in range(len(nonsense) + 1)})

    async def scrape(number: int, headers: dict[str, str]) -> int:
        async with session.get(f"{url}/probe?target=t{number}", headers=headers) as answer:
            return answer.status

    async with serving(fleet) as url, aiohttp.ClientSession() as session, asyncio.timeout(5):
        scrapes = [scrape(number, {TIMEOUT_HEADER: text}) for number, text in enumerate(nonsense)]
        assert set(await asyncio.gather(*scrapes, scrape(len(nonsense), {}))) == {200}


async def test_50_scrapes_of_one_target_ask_it_once_and_beyond_40_are_refused_at_once(tmp_path):
    asked: Counter[str] = Counter()
    arrived, gate = asyncio.Event(), asyncio.Event()

    async def ollama(request: web.Request) -> web.Response:
        asked[request.path] += 1
        arrived.set()
        await gate.wait()
        return web.json_response({"version": "0.6.5", "models": []})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", ollama)
    async with TestServer(application) as upstream:
        file = tmp_path / "cluster-ai.yml"
        file.write_text(f'targets: {{ollama: [{{name: gpu, url: "{upstream.make_url("")}", timeout: 20s}}]}}')
        connector = aiohttp.TCPConnector(limit=0)
        async with serving(Fleet(file, load(file))) as url, aiohttp.ClientSession(connector=connector) as session:

            async def scrape() -> tuple[int, str]:
                async with session.get(f"{url}/probe?target=gpu") as answer:
                    return answer.status, await answer.text()

            scrapes = [asyncio.create_task(scrape()) for _ in range(50)]
            refused: set[asyncio.Task[tuple[int, str]]] = set()
            waiting = set(scrapes)
            async with asyncio.timeout(10):
                while len(refused) < 10:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    refused |= done
                await arrived.wait()
            assert {task.result()[0] for task in refused} == {503}
            assert all("--web.max-requests" in task.result()[1] for task in refused)
            assert max(asked.values()) == 1
            gate.set()
            answers = await asyncio.gather(*waiting)
            assert len(answers) == 40
            assert len(set(answers)) == 1
            assert answers[0][0] == 200
            assert "ollama_up 1.0" in answers[0][1]
            assert max(asked.values()) == 1
            assert (await scrape())[0] == 200


async def test_0_max_requests_is_no_limit(tmp_path):
    gate = asyncio.Event()

    async def waiting() -> list[Family]:
        await gate.wait()
        return []

    connector = aiohttp.TCPConnector(limit=0)
    fleet = fleet_of(tmp_path, gpu=waiting)
    async with serving(fleet, max_requests=0) as url, aiohttp.ClientSession(connector=connector) as session:
        scrapes = [asyncio.create_task(session.get(f"{url}/probe?target=gpu")) for _ in range(60)]
        done, _ = await asyncio.wait(scrapes, timeout=0.5)
        assert not done
        gate.set()
        assert {answer.status for answer in await asyncio.gather(*scrapes)} == {200}


def configuration(number: int, port: int) -> str:
    """Each time another: gpu-2 changes, a third target comes and goes; every fifth is broken."""
    if number % 5 == 4:
        return ("targets: [", "targets: {ollama: [{name: gpu-1}]}", "\x00", "", "target: {}")[number // 5 % 5]
    entry = f'url: "http://127.0.0.1:{port}"'
    third = f", {{name: gpu-3, {entry}}}" if number % 2 else ""
    return f"targets: {{ollama: [{{name: gpu-1, {entry}}}, {{name: gpu-2, {entry}, timeout: {3 + number}s}}{third}]}}\n"


async def test_100_reloads_under_load_with_every_fifth_broken_fail_no_scrape(tmp_path: Path):
    async def ollama(request: web.Request) -> web.Response:
        await asyncio.sleep(0.02)  # so that reloads meet collections under way
        return web.json_response({"version": "0.6.5", "models": []})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", ollama)
    async with TestServer(application) as upstream:
        file = tmp_path / "cluster-ai.yml"
        file.write_text(configuration(0, upstream.port))
        fleet = Fleet(file, load(file))
        # httpx, because aiohttp's client asks again in silence when a connection is dropped.
        async with serving(fleet) as url, httpx.AsyncClient() as client:
            over = asyncio.Event()
            scrapes: list[asyncio.Task[None]] = []

            async def scrape(path: str) -> None:
                answer = await client.get(url + path)
                text = answer.text
                assert answer.status_code == 200, text
                assert 'ollama_up{system="ollama",target="gpu-2"} 1.0' in text or "\nollama_up 1.0" in text, text

            async def load_on() -> None:
                paths = ("/metrics", "/probe?target=gpu-1", "/probe?target=gpu-2")
                while not over.is_set():
                    scrapes.append(asyncio.create_task(scrape(paths[len(scrapes) % 3])))
                    await asyncio.wait({asyncio.ensure_future(over.wait())}, timeout=0.05)

            loading = asyncio.create_task(load_on())
            statuses = []
            for number in range(100):
                file.write_text(configuration(number, upstream.port))
                statuses.append((await client.post(f"{url}/-/reload")).status_code)
                assert list(fleet.watches)[:2] == ["gpu-1", "gpu-2"]
                await asyncio.sleep(0.04)  # the pace of the load: 100 reloads in some five seconds
            over.set()
            await loading
            await asyncio.gather(*scrapes)
            assert statuses == [200, 200, 200, 200, 500] * 20
            assert len(scrapes) > 50
            assert (await client.get(f"{url}/-/reload")).status_code == 405


async def test_a_scrape_under_way_when_its_target_changes_is_still_answered(tmp_path):
    began, gate = asyncio.Event(), asyncio.Event()

    async def waiting() -> list[Family]:
        began.set()
        await gate.wait()
        return []

    fleet = fleet_of(tmp_path, "1s", gpu=waiting)
    async with serving(fleet) as url, httpx.AsyncClient() as client:
        for path in ("/probe?target=gpu", "/metrics"):
            scrape = asyncio.create_task(client.get(url + path))
            await began.wait()
            began.clear()
            fleet.file.write_text(fleet.file.read_text().replace("s}", "0s}"))
            await fleet.reload()
            gate.set()
            answer = await scrape
            assert answer.status_code == 200
            assert re.search(r"^ollama_up(\{.*\})? 1.0$", answer.text, re.MULTILINE)
            fleet.watches["gpu"].collector.script = {"version": waiting}
            gate.clear()
