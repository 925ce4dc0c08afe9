"""The endpoints, over real HTTP on loopback, with scripted collectors behind them."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientResponse, ClientTimeout
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.collectors.base import NativeEndpoint
from exporter.door.settings import WebSettings
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, gauge
from exporter.fleet import Fleet
from exporter.scrape import Watch
from exporter.web import TIMEOUT_HEADER, Exporter, budget
from provisioning.config.load import load
from provisioning.config.model import Config
from tests.exporter.fakes import FakeCollector, families

CONFIG = """
name: lab
targets:
  ollama:
    - {name: gpu-1, url: "http://10.0.0.7:11434", labels: {rack: r1}}
    - {name: gpu-2, url: "http://10.0.0.8:11434", username: ana, password_file: hunter2-password}
  hosts:
    - {name: big-box, node_exporter: "http://10.0.0.7:9100"}
people:
  - {name: ana, email: ana@example.org}
"""


async def good() -> list[Family]:
    return families("good")


async def refused() -> list[Family]:
    raise CollectError(Reason.REFUSED, "10.0.0.8:11434 refuses <b>connections</b>")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(CONFIG)
    fleet = Fleet(file, load(file), {"ollama": FakeCollector})
    for name, part in (("gpu-1", good), ("gpu-2", refused)):
        fleet.watches[name] = Watch(fleet.watches[name].target, FakeCollector(version=part))
    return fleet


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[TestClient]:
    plain = {"Accept-Encoding": "identity"}
    server = TestServer(Exporter(fleet).application())
    async with TestClient(server, auto_decompress=False, headers=plain) as client:
        yield client
    await fleet.close()


async def samples(response: ClientResponse) -> dict[tuple[str, str | None], float]:
    return {
        (sample.name, sample.labels.get("target")): sample.value
        for family in parse_text(await response.text())
        for sample in family.samples
    }


async def test_probe_gives_one_target_without_target_labels_and_200_when_it_is_down(client):
    response = await client.get("/probe", params={"target": "gpu-2"})
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (await samples(response))["ollama_up", None] == 0


@pytest.mark.parametrize(
    "target", ["", "nope", "http://127.0.0.1:1/", "10.0.0.7:11434", "../gpu-1", "gpu-1\x00", "GPU-1"]
)
async def test_probe_takes_configured_names_only(client, target):
    response = await client.get("/probe", params={"target": target})
    assert response.status == 400
    assert "gpu-1, gpu-2" in await response.text()


async def test_metrics_gives_the_whole_fleet_each_series_with_its_target_and_the_exporter_itself(client):
    got = await samples(await client.get("/metrics"))
    assert got["ollama_up", "gpu-1"] == 1
    assert got["ollama_up", "gpu-2"] == 0
    assert got["cluster_ai_exporter_config_last_reload_successful", None] == 1
    assert all(target for name, target in got if name.startswith("ollama_"))


async def test_collect_self_leaves_the_targets_alone(client, fleet):
    got = await samples(await client.get("/metrics", params={"collect[]": "self"}))
    assert {name for name, _ in got if name.startswith("ollama_")} == set()
    assert got["cluster_ai_exporter_build_info", None] == 1
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert (name, None) in got
    assert fleet.watches["gpu-1"].last is None


async def test_collect_a_system_leaves_the_exporter_itself_out(client):
    got = await samples(await client.get("/metrics", params={"collect[]": "ollama"}))
    assert got["ollama_up", "gpu-1"] == 1
    assert not [name for name, _ in got if name.startswith("cluster_ai_")]


async def test_an_unknown_collect_is_the_callers_mistake(client):
    response = await client.get("/metrics", params={"collect[]": "cpu"})
    assert response.status == 400
    assert "use self, dask, ollama, openwebui" in await response.text()


@pytest.mark.parametrize("path", ["/probe?target=gpu-1", "/metrics", "/metrics?collect[]=ollama"])
async def test_openmetrics_is_given_to_who_asks_and_parses(client, path):
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    response = await client.get(path, headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    text = await response.text()
    assert text.endswith("# EOF\n")
    assert list(parse_openmetrics(text))


@pytest.mark.parametrize(
    ("accept", "compressed"), [("gzip", True), ("deflate, gzip;q=1.0", True), ("gzip;q=0", False), ("identity", False)]
)
async def test_gzip_when_it_is_taken(client, accept, compressed):
    response = await client.get("/metrics", headers={"Accept-Encoding": accept})
    body = await response.read()
    assert (response.headers.get("Content-Encoding") == "gzip") == compressed
    text = (gzip.decompress(body) if compressed else body).decode()
    assert "ollama_up{" in text


async def test_probe_discovery_lists_every_target_once_with_its_labels_and_the_address_asked(client):
    response = await client.get("/sd", params={"kind": "probe"}, headers={"Host": "exporter.lab:9860"})
    assert response.content_type == "application/json"
    assert (await response.json())[0] == {
        "targets": ["exporter.lab:9860"],
        "labels": {
            "rack": "r1",
            "target": "gpu-1",
            "system": "ollama",
            "instance": "10.0.0.7:11434",
            "host": "big-box",
            "__metrics_path__": "/probe",
            "__param_target": "gpu-1",
        },
    }
    assert [group["labels"]["target"] for group in await response.json()] == ["gpu-1", "gpu-2"]


async def test_a_large_target_is_looked_at_less_often(client, fleet):
    fleet.watches["gpu-1"].collector.large = True
    first, second = await (await client.get("/sd", params={"kind": "probe"})).json()
    assert (first["labels"]["__scrape_interval__"], first["labels"]["__scrape_timeout__"]) == ("15s", "10s")
    assert "__scrape_interval__" not in second["labels"]


async def test_probe_discovery_does_not_echo_a_host_header_that_is_no_host(client):
    response = await client.get("/sd", params={"kind": "probe"}, headers={"Host": "a b/../x"})
    assert response.status == 400


async def test_native_discovery_follows_what_the_collectors_see(client, fleet):
    collector = fleet.watches["gpu-1"].collector
    collector.endpoints = [NativeEndpoint("10.0.0.9:40001", {"worker": "w\n1", "host": "h"})]
    [group] = await (await client.get("/sd", params={"kind": "native"})).json()
    assert group["targets"] == ["10.0.0.9:40001"]
    assert group["labels"] | {"worker": ""} == {
        "worker": "",
        "host": "h",
        "rack": "r1",
        "target": "gpu-1",
        "system": "ollama",
        "__metrics_path__": "/metrics",
        "__scheme__": "http",
    }
    assert group["labels"]["worker"].startswith("w1~")
    collector.endpoints = []
    assert await (await client.get("/sd", params={"kind": "native"})).json() == []


@pytest.mark.parametrize("kind", ["", "other"])
async def test_an_unknown_kind_of_discovery_is_400(client, kind):
    response = await client.get("/sd", params={"kind": kind})
    assert response.status == 400
    assert "use probe, native, filtered" in await response.text()


async def test_targets_say_who_is_up_and_why_not(client):
    got = {row["name"]: (row["system"], row["up"], row["error"]) for row in await (await client.get("/targets")).json()}
    assert got == {
        "gpu-1": ("ollama", True, None),
        "gpu-2": ("ollama", False, "version: 10.0.0.8:11434 refuses <b>connections</b>"),
    }


async def test_the_page_shows_each_target_and_escapes_what_comes_from_outside(client):
    response = await client.get("/")
    text = await response.text()
    assert response.content_type == "text/html"
    assert "refuses &lt;b&gt;connections" in text
    assert "<b>" not in text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_the_configuration_is_shown_without_secrets_or_addresses_of_people(client):
    text = await (await client.get("/config")).text()
    assert "hunter2" not in text
    assert "ana@example.org" not in text
    shown = yaml.safe_load(text)
    assert shown["targets"]["ollama"][0]["url"] == "http://10.0.0.7:11434"
    assert shown["targets"]["ollama"][0]["timeout"] == "5s"
    assert shown["targets"]["ollama"][1]["password_file"] == "<hidden>"


async def test_reload_takes_a_good_file_and_keeps_the_old_one_over_a_broken_one(client, fleet):
    watch = fleet.watches["gpu-1"]
    fleet.file.write_text(CONFIG.replace("gpu-2", "gpu-3"))
    assert (await client.post("/-/reload")).status == 200
    assert list(fleet.watches) == ["gpu-1", "gpu-3"]
    assert fleet.watches["gpu-1"] is watch

    fleet.file.write_text("targets: [")
    response = await client.post("/-/reload")
    assert response.status == 500
    assert "cluster-ai.yml:1" in await response.text()
    assert list(fleet.watches) == ["gpu-1", "gpu-3"]
    got = await samples(await client.get("/metrics", params={"collect[]": "self"}))
    assert got["cluster_ai_exporter_config_last_reload_successful", None] == 0
    assert "broken, an older one is in use" in await (await client.get("/")).text()


async def test_a_reload_names_what_counts_only_after_a_restart_and_the_page_does_too(fleet, caplog):
    """Somebody who adds a password and reloads must not believe that it is asked for."""
    fleet = Fleet(fleet.file, fleet.config, {"ollama": FakeCollector}, fixed=["exporter.web_config_file"])
    async with TestClient(TestServer(Exporter(fleet).application())) as client:
        assert await (await client.post("/-/reload")).text() == "Reloaded.\n"
        fleet.file.write_text(f"{CONFIG}exporter: {{web_config_file: web.yml}}\n")
        caplog.clear()
        said = await (await client.post("/-/reload")).text()
        assert said == "Reloaded.\nThis counts only after a restart: exporter.web_config_file.\n"
        assert any(record.levelname == "WARNING" and "web_config_file" in record.message for record in caplog.records)
        assert "only after a restart: exporter.web_config_file" in await (await client.get("/")).text()
        fleet.file.write_text(CONFIG)
        await client.post("/-/reload")
        assert "restart" not in await (await client.get("/")).text()
    await fleet.close()


async def test_the_page_says_that_the_web_configuration_on_disk_is_not_the_one_in_force(fleet, tmp_path):
    web_file = tmp_path / "web.yml"
    web_file.write_text("")
    async with TestClient(TestServer(Exporter(fleet, WebSettings(web_file)).application())) as client:
        assert "web configuration" not in await (await client.get("/")).text()
        web_file.write_text("basic_auth: {}")
        text = await (await client.get("/")).text()
        assert "web configuration on disk is not used" in text
        assert "web.yml:1" in text
    await fleet.close()


async def test_reload_by_get_is_refused(client):
    assert (await client.get("/-/reload")).status == 405


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
async def test_health(client, path):
    assert (await client.get(path)).status == 200


async def test_requests_are_counted_by_endpoint_never_by_raw_path(client):
    for path in ("/nope/1", "/nope/2", "/probe?target=x", "/probe?target=gpu-1"):
        await client.get(path)
    text = await (await client.get("/metrics", params={"collect[]": "self"})).text()
    assert 'cluster_ai_exporter_http_requests_total{code="404",handler="other"} 2.0' in text
    assert 'cluster_ai_exporter_http_requests_total{code="400",handler="/probe"} 1.0' in text
    assert "nope" not in text


async def test_a_slow_target_does_not_delay_another(client, fleet):
    async def silent() -> list[Family]:
        await asyncio.Event().wait()
        return []

    fleet.watches["gpu-2"] = Watch(fleet.watches["gpu-2"].target, FakeCollector(version=silent))
    slow = asyncio.create_task(client.get("/probe", params={"target": "gpu-2"}, headers={TIMEOUT_HEADER: "3"}))
    async with asyncio.timeout(2):
        assert (await samples(await client.get("/probe", params={"target": "gpu-1"})))["ollama_up", None] == 1
    assert not slow.done()
    assert (await samples(await slow))["ollama_up", None] == 0


async def test_a_large_answer_is_whole(client, fleet):
    async def many() -> list[Family]:
        family = gauge("ollama_many", "Fake.")
        for index in range(5000):
            family.add(index, Labels(model=f"m{index}"))
        return [family]

    fleet.watches["gpu-1"] = Watch(fleet.watches["gpu-1"].target, FakeCollector(version=many))
    text = await (await client.get("/probe", params={"target": "gpu-1"})).text()
    assert text.count("\nollama_many{") == 5000


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 4.5),
        ("0.6", 0.15),
        ("10", 9.5),
        ("1e9", 120),
        (None, 10),
        ("abc", 10),
        ("-1", 10),
        ("nan", 10),
        ("inf", 10),
    ],
)
def test_the_scrape_timeout_header_bounds_the_look_and_nonsense_is_ignored(header, seconds):
    assert budget(header) == pytest.approx(seconds)


async def test_discovery_answers_are_strings_only_as_prometheus_wants(client):
    for kind in ("probe", "native", "filtered"):
        for group in json.loads(await (await client.get("/sd", params={"kind": kind})).text()):
            assert all(isinstance(value, str) for value in group["labels"].values())


async def test_answers_are_written_and_compressed_while_the_dns_is_silent(client, fleet):
    """asyncio looks up names in threads of its own, all of which then wait for the DNS; answers must not."""
    family = gauge("many", "Many.")
    family.samples = [(Labels(number=str(number)), 1.0) for number in range(3_000)]

    async def many() -> list[Family]:
        return [family]

    fleet.watches["gpu-1"] = Watch(fleet.watches["gpu-1"].target, FakeCollector(version=many))
    answered = threading.Event()
    loop = asyncio.get_running_loop()
    names = [loop.run_in_executor(None, answered.wait) for _ in range(64)]
    try:
        async with asyncio.timeout(10):
            response = await client.get("/probe?target=gpu-1", headers={"Accept-Encoding": "gzip"})
            assert gzip.decompress(await response.read()).count(b"\nmany{") == 3_000
    finally:
        answered.set()
        await asyncio.gather(*names)


async def test_a_flood_of_reloads_reads_the_file_twice(client, fleet, monkeypatch):
    """Each takes a turn of the one thread that large answers of all targets share."""
    read: list[str] = []
    began = threading.Event()

    def slowly(file: Path) -> Config:
        read.append(file.read_text())
        began.set()
        time.sleep(0.2)
        return load(file)

    monkeypatch.setattr("exporter.fleet.load", slowly)
    first = asyncio.ensure_future(client.post("/-/reload"))
    await asyncio.to_thread(began.wait)
    fleet.file.write_text(CONFIG.replace("gpu-2", "gpu-3"))
    others = [asyncio.ensure_future(client.post("/-/reload")) for _ in range(50)]
    leaver = asyncio.ensure_future(client.post("/-/reload", timeout=ClientTimeout(total=0.05)))
    assert [(await one).status for one in [first, *others]] == [200] * 51
    with pytest.raises(TimeoutError):
        await leaver
    assert len(read) == 2
    assert list(fleet.watches) == ["gpu-1", "gpu-3"]


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=x", "text/plain;version=1.x", "\xff;q=\xfe"])
async def test_an_accept_header_that_makes_no_sense_gets_plain_text(client, accept, caplog):
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "exporter.door.guard" not in {record.name for record in caplog.records}
