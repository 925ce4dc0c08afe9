"""The doctor and `init` against real Dask clusters and a real Ollama: what is really wrong there is what is found."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exporter.client.http import HttpClient
from exporter.client.rpc import RpcClient
from exporter.discover import USUAL_PORTS, What
from exporter.doctor.dask_bugs import BUGS
from exporter.doctor.examine import examine
from exporter.doctor.findings import Finding
from exporter.errors import CollectError
from provisioning.config.load import load
from provisioning.config.model import Config
from provisioning.config.targets import DaskTarget, TlsFiles
from provisioning.init.cli import init
from tests.certificates import DAY, Authority
from tests.ports import free_port
from tests.real.dask_cluster import Cluster, python_of, until
from tests.real.ollama_server import OllamaServer

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]  # the first run makes the environments
KNOWN_BUGS = {bug.kind.id for bug in BUGS}
VERSIONS = ("2024.2.1", "2026.8.0")

# Two workers and the scheduler in one process, and more task prefixes than anybody wants.
IN_ONE_PROCESS = """
import sys
from distributed import Client, LocalCluster
with LocalCluster(
    n_workers=2, processes=False, protocol="tcp", host="127.0.0.1", scheduler_port=int(sys.argv[1]),
    dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
) as cluster, Client(cluster) as client:
    client.gather(client.map(lambda x: x, range(1100), key=[f"p{i}-{i}" for i in range(1100)]))
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _nothing_usual_here(monkeypatch):
    for port in list(USUAL_PORTS):
        monkeypatch.delitem(USUAL_PORTS, port)


async def look(**targets: dict[str, Any]) -> dict[str, dict[str, Finding]]:
    """Findings by target and id, the known bugs aside; a target's system is the first word of its name."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, target in targets.items():
        kinds.setdefault(name.partition("_")[0], []).append({"name": name, "timeout": "3s", **target})
    reports = await examine(Config.model_validate({"targets": kinds}), own_addresses=())
    return {
        report.name: {finding.id: finding for finding in report.findings if finding.id not in KNOWN_BUGS}
        for report in reports
    }


async def workers(address: str, count: int, **files: Path) -> list[str]:
    """The addresses of that many workers, once they are there."""
    client = RpcClient(DaskTarget.model_validate({"name": "x", "scheduler": address, **files}))

    async def there() -> list[str] | None:
        try:
            found = list((await client.call("identity"))["workers"])
        except CollectError:
            return None
        return found if len(found) == count else None

    try:
        return list(await until(there, f"{count} workers") or [])
    finally:
        await client.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cluster_and_every_wrong_address_of_it(version, tmp_path):
    async with Cluster(version, tmp_path) as cluster:
        cluster.start_worker("good")
        cluster.start_worker("bare", nanny=False)
        addresses = await workers(cluster.address, 2)
        web = f"127.0.0.1:{cluster.dashboard_port}"
        found = await look(
            dask_good={"scheduler": cluster.address},
            dask_dashboard={"scheduler": f"tcp://{web}"},
            dask_worker={"scheduler": addresses[0]},
            dask_tls={"scheduler": cluster.address.replace("tcp", "tls"), "ca_file": _ca(tmp_path)},
            dask_mixed={"scheduler": cluster.address, "dashboard": f"http://127.0.0.1:{cluster.port}"},
            ollama_dashboard={"url": f"http://{web}"},
            ollama_rpc={"url": f"http://127.0.0.1:{cluster.port}"},
            ollama_tls={"url": f"https://{web}"},
            openwebui_dashboard={"url": f"http://{web}"},
        )
    assert {name: list(ids) for name, ids in found.items()} == {
        "dask_good": ["dask-no-nanny"],
        "dask_dashboard": ["wrong-system"],
        "dask_worker": ["wrong-system"],
        "dask_tls": ["wants-plain"],
        "dask_mixed": ["dask-no-nanny", "dask-http-unreachable"],
        "ollama_dashboard": ["wrong-system"],
        "ollama_rpc": ["wrong-system"],
        "ollama_tls": ["wrong-system"],
        "openwebui_dashboard": ["wrong-system"],
    }
    assert found["dask_good"]["dask-no-nanny"].seen == "1 of 2 workers: bare"
    assert found["dask_worker"]["wrong-system"].mend == f"write scheduler: {cluster.address}"
    assert found["dask_tls"]["wants-plain"].mend == f"write {cluster.address}"
    assert "is a Dask scheduler, not Ollama" in found["ollama_rpc"]["wrong-system"].seen


@pytest.mark.parametrize("version", VERSIONS)
async def test_known_faults_are_there(version, tmp_path):
    """What is told of B3 and B8 is true of these versions; when it no longer is, dask_bugs wants a last version."""
    async with Cluster(version, tmp_path) as cluster:
        cluster.start_worker("a")
        await workers(cluster.address, 1)
        http = HttpClient(f"http://127.0.0.1:{cluster.dashboard_port}", TlsFiles())

        async def fails() -> bool:
            return (await http.ask("/json/identity.json", timeout=5)).status == 500

        async def forgotten() -> dict[str, float] | None:
            page = (await http.ask("/metrics", timeout=5)).body.decode()
            lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if "forgotten" in line and line[0] != "#")
            by_prefix = {name: float(value) for name, value in lines.items() if 'prefix_name="quick"' in name}
            whole = {"all": float(lines["dask_scheduler_tasks_forgotten_total"])}
            return whole if sum(by_prefix.values()) >= 1000 else None

        try:
            work = asyncio.create_task(cluster.do("quick", count=1000))
            await until(fails, "a failing /json/identity.json")
            await work
            assert await until(forgotten, "1,000 forgotten tasks") == {"all": 0.0}
        finally:
            await http.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_workers_that_were_started_together_are_no_shared_process(version, tmp_path):
    async with Cluster(version, tmp_path) as cluster:
        for name in "abcde":
            cluster.start_worker(name)
        await workers(cluster.address, 5)
        assert (await look(dask={"scheduler": cluster.address}))["dask"] == {}


async def test_a_scheduler_without_prometheus_client(tmp_path, monkeypatch):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "prometheus_client.py").write_text("raise ModuleNotFoundError('hidden', name='prometheus_client')\n")
    inherited = Cluster._environment
    monkeypatch.setattr(Cluster, "_environment", lambda self: inherited(self) | {"PYTHONPATH": str(hidden)})
    async with Cluster(VERSIONS[-1], tmp_path) as cluster:
        cluster.start_worker("a")
        await workers(cluster.address, 1)
        found = await look(dask={"scheduler": cluster.address})
    assert list(found["dask"]) == ["dask-no-prometheus-client"]


@asynccontextmanager
async def _in_one_process(version: str, folder: Path) -> AsyncIterator[str]:
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(python_of(version)),
            "-c",
            IN_ONE_PROCESS,
            str(port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={name: value for name, value in os.environ.items() if not name.startswith("DASK_")},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readline(), 60)
        assert said == b"ready\n", (folder / "log").read_text()[-2000:]
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def test_workers_of_one_process_and_too_many_prefixes(tmp_path):
    """B4 and B6, for real."""
    async with _in_one_process(VERSIONS[-1], tmp_path) as address:
        found = await look(dask={"scheduler": address})
    assert set(found["dask"]) == {"dask-no-nanny", "dask-shared-process", "dask-many-prefixes"}
    assert found["dask"]["dask-shared-process"].seen.endswith("has the scheduler's series too")
    prefixes, series = (int(word) for word in found["dask"]["dask-many-prefixes"].seen.split() if word.isdigit())
    assert 1100 <= prefixes < 1110
    assert series > 8 * prefixes


async def test_a_secured_cluster(tmp_path):
    authority = Authority("ours")
    cert, key = authority.write_pair(tmp_path, lasts=90 * DAY)
    key.chmod(0o600)
    ours = {"ca": authority.write_ca(tmp_path), "cert": cert, "key": key}
    files = {"ca_file": ours["ca"], "cert_file": cert, "key_file": key}
    (tmp_path / "other").mkdir()
    async with Cluster(VERSIONS[-1], tmp_path, tls=ours) as cluster:
        cluster.start_worker("a")
        await workers(cluster.address, 1, **files)
        found = await look(
            dask_good={"scheduler": cluster.address, **files},
            dask_bare={"scheduler": cluster.address, "ca_file": ours["ca"]},
            dask_other={"scheduler": cluster.address, **files, "ca_file": _ca(tmp_path / "other")},
            dask_plain={"scheduler": cluster.address.replace("tls", "tcp")},
        )
    assert {name: list(ids) for name, ids in found.items()} == {
        "dask_good": [],
        "dask_bare": ["tls-client-certificate"],
        "dask_other": ["tls-untrusted"],
        "dask_plain": ["wants-tls"],
    }


def _ca(folder: Path) -> Path:
    return Authority("another").write_ca(folder)


async def test_an_ollama(ollama_server: OllamaServer, tmp_path):
    ollama_server.generate()
    url = ollama_server.url
    token = tmp_path / "token"
    token.write_text("a-token")
    token.chmod(0o600)
    found = await look(
        ollama_good={"url": url, "must_be_loaded": ["tiny"]},
        ollama_wanted={"url": url, "must_be_loaded": ["tiny", "llama3.1:8b"]},
        ollama_open={"url": url.replace("127.0.0.1", "0.0.0.0"), "bearer_token_file": token},
        ollama_tls={"url": url.replace("http", "https")},
        openwebui_swapped={"url": url},
        dask_swapped={"scheduler": url.replace("http", "tcp")},
    )
    real = await _version(url)
    old = {"ollama-old"} if (0, 0, 0) < real < (0, 10, 0) else set()  # 0.0.0: built without a version
    assert {name: set(ids) for name, ids in found.items()} == {
        "ollama_good": old,
        "ollama_wanted": {"ollama-model-missing"} | old,
        "ollama_open": {"ollama-open", "secret-in-clear"} | old,
        "ollama_tls": {"wants-plain"},
        "openwebui_swapped": {"wrong-system"},
        "dask_swapped": {"wrong-system"},
    }
    assert "is Ollama, not Open WebUI" in found["openwebui_swapped"]["wrong-system"].seen


async def _version(url: str) -> tuple[int, ...]:
    client = HttpClient(url, TlsFiles())
    try:
        text = (await client.json("/api/version"))["version"]
    finally:
        await client.close()
    return tuple(int(piece) for piece in text.split("."))


async def test_a_first_file(ollama_server: OllamaServer, tmp_path, monkeypatch):
    """`init` finds both, and the doctor finds nothing wrong with what it wrote."""
    ollama_server.generate()
    out = tmp_path / "cluster-ai.yml"
    async with Cluster(VERSIONS[-1], tmp_path) as cluster:
        cluster.start_worker("a")
        await workers(cluster.address, 1)
        ports = {cluster.port: What.DASK, cluster.dashboard_port: What.DASK_DASHBOARD, ollama_server.port: What.OLLAMA}
        for port, what in ports.items():
            monkeypatch.setitem(USUAL_PORTS, port, what)
        result = await asyncio.to_thread(CliRunner().invoke, init, ["--out", str(out)])
        assert result.exit_code == 0, result.output
        config = load(out)
        reports = await examine(config, own_addresses=())
    assert [target.scheduler for target in config.targets.dask] == [cluster.address]
    assert [target.url for target in config.targets.ollama] == [ollama_server.url]
    assert '# must_be_loaded: ["tiny:latest"]' in out.read_text()
    serious = [finding for report in reports for finding in report.findings if finding.severity != "info"]
    assert serious == []
