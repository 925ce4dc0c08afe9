"""Two exporters that share one file: what each of them serves, and that Prometheus sees every target once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner

from exporter.cli import exporter
from exporter.fleet import Fleet
from exporter.shard import Shard, owner
from exporter.web import Exporter
from provisioning.config.load import load
from provisioning.config.model import Config
from provisioning.render.places import Places
from provisioning.render.prometheus import settings
from tests.exporter.fakes import FakeCollector, families
from tests.exporter.test_process import wait_for
from tests.ports import free_port
from tests.tools import tool

NAMES = [f"gpu-{number}" for number in range(6)]
PLACES = Places(data=Path("/d"), secrets=Path("/s"), alertmanager=False, node_exporter=False, grafana=False)


def text(shards: list[str], prometheus: str = "127.0.0.1:9090") -> str:
    targets = [{"name": name, "url": f"http://127.0.0.1:{10 + number}"} for number, name in enumerate(NAMES)]
    services = {"exporter_shards": shards, "prometheus": prometheus}
    return yaml.safe_dump({"targets": {"ollama": targets}, "services": services})


@pytest.fixture
async def client(tmp_path: Path):
    file = tmp_path / "cluster-ai.yml"
    file.write_text(text([]))
    fleet = Fleet(file, load(file), {"ollama": FakeCollector}, Shard(1, 2))

    async def version():
        return families("good")

    for watch in fleet.watches.values():
        watch.collector.script = {"version": version}
    async with TestClient(TestServer(Exporter(fleet).application())) as client:
        yield client
    await fleet.close()


OURS = [name for name in NAMES if owner(name, 2) == 1]
THEIRS = [name for name in NAMES if owner(name, 2) == 2]


async def test_a_shard_serves_its_own_targets_only(client):
    assert OURS
    assert THEIRS
    assert [group["labels"]["target"] for group in await (await client.get("/sd?kind=probe")).json()] == OURS
    assert [row["name"] for row in await (await client.get("/targets")).json()] == OURS
    metrics = await (await client.get("/metrics")).text()
    assert [name for name in NAMES if f'target="{name}"' in metrics] == OURS
    assert f'cluster_ai_exporter_targets{{system="ollama"}} {len(OURS)}.0' in metrics
    assert 'cluster_ai_exporter_shard_info{shard="1",shards="2"} 1.0' in metrics


async def test_a_target_of_another_shard_is_421_and_says_whose_it_is(client):
    for path in ("/probe", "/native"):
        response = await client.get(path, params={"target": THEIRS[0]})
        assert response.status == 421
        assert "--shard 2/2; this one is 1/2" in await response.text()
    assert (await client.get("/probe", params={"target": "nope"})).status == 400


def test_prometheus_is_given_every_shard():
    config = Config.model_validate({"targets": {}, "services": {"exporter_shards": ["0.0.0.0:1", "10.0.0.6:2"]}})
    jobs = {job["job_name"]: job for job in settings(config, PLACES)["scrape_configs"]}
    assert jobs["exporter"]["static_configs"] == [{"targets": ["127.0.0.1:1", "10.0.0.6:2"]}]
    for kind in ("probe", "native"):
        urls = [entry["url"] for entry in jobs[kind]["http_sd_configs"]]
        assert urls == [f"http://127.0.0.1:1/sd?kind={kind}", f"http://10.0.0.6:2/sd?kind={kind}"]


def test_shards_that_listen_on_one_address_are_an_error(tmp_path):
    file = tmp_path / "cluster-ai.yml"
    file.write_text(text(["127.0.0.1:9860", "127.0.0.1:9870"]))
    load(file)  # `exporter` is not used then: its default may be one of them
    file.write_text(text(["127.0.0.1:9860", "127.0.0.1:9860"]))
    with pytest.raises(Exception, match="also where"):
        load(file)


@pytest.mark.parametrize(("shard", "word"), [("3/2", "write K/N"), ("1/3", "exporter_shards lists 2")])
def test_a_shard_that_cannot_be_is_refused(tmp_path, shard, word):
    file = tmp_path / "cluster-ai.yml"
    file.write_text(text(["127.0.0.1:1", "127.0.0.1:2"]))
    result = CliRunner().invoke(exporter, ["--config", str(file), "--shard", shard])
    assert result.exit_code != 0
    assert word in result.output


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[str]:
    """Two shards and a Prometheus; gives the address of the latter."""
    program = tool("prometheus")
    file = tmp_path / "cluster-ai.yml"
    prometheus = f"127.0.0.1:{free_port()}"
    file.write_text(text([f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"], prometheus))
    config = load(file)
    rendered = settings(config, PLACES)
    for job in rendered["scrape_configs"]:
        job["scrape_interval"] = job["scrape_timeout"] = "1s"
        for discovery in job.get("http_sd_configs", ()):
            discovery["refresh_interval"] = "1s"
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(rendered))
    cluster_ai = str(Path(sys.executable).with_name("cluster-ai"))
    commands = [[cluster_ai, "exporter", "--config", str(file), "--shard", f"{k}/2"] for k in (1, 2)]
    commands.append(
        [
            program,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={prometheus}",
        ]
    )
    with (tmp_path / "log").open("wb") as log:
        processes = [subprocess.Popen(command, stdout=log, stderr=log) for command in commands]
        try:
            yield f"http://{prometheus}"
        finally:
            for process in processes:
                process.kill()
                process.wait()


def test_prometheus_scrapes_every_target_once(stack):
    def counts() -> dict[str, str]:
        try:
            answer = httpx.get(f"{stack}/api/v1/query", params={"query": 'count by (target) (up{job="probe"} == 1)'})
            result = answer.json()["data"]["result"] if answer.status_code == 200 else []
        except httpx.TransportError:
            return {}
        return {series["metric"]["target"]: series["value"][1] for series in result}

    wait_for(lambda: set(counts()) == set(NAMES), 30)
    assert set(json.dumps(counts())) >= {"1"}
    assert set(counts().values()) == {"1"}
