"""Records what real Dask clusters answer into tests/fixtures/dask: `python -m tests.real.record_dask [VERSION ...]`.

Two named workers live, a third was killed with tasks and results on it; addresses and folders are rewritten, so
that the files say nothing of the machine they were recorded on.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from exporter.client.rpc import RpcClient
from exporter.collectors.dask_events import parse_version, topics
from provisioning.config.targets import DaskTarget
from tests.exporter.dask.recorded import FIXTURES, dump
from tests.real.dask_cluster import VERSIONS, Cluster, until

HOSTS = {"scheduler": "10.0.0.5", "alpha": "10.0.0.11", "beta": "10.0.0.12", "gamma": "10.0.0.13"}


async def record(version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Cluster(version, Path(folder)) as cluster:
            rpc = RpcClient(DaskTarget(name="main", scheduler=cluster.address))
            await _play(cluster, rpc)
            answers = await _ask(rpc, version)
            await rpc.close()
    target = FIXTURES / version
    target.mkdir(parents=True, exist_ok=True)
    for name, answer in _anonymous(answers).items():
        (target / f"{name}.json").write_text(json.dumps(answer, indent=1, sort_keys=False) + "\n")


async def _play(cluster: Cluster, rpc: RpcClient) -> None:
    async def workers(count: int) -> bool:
        return len((await rpc.call("identity"))["workers"]) == count

    await until(lambda: _answers(rpc), "scheduler answers")
    for name, nanny in (("alpha", True), ("beta", True), ("gamma", False)):
        cluster.start_worker(name, threads=2, nanny=nanny)
    await until(lambda: workers(3), "three workers")
    await cluster.do("quick", count=20)
    await cluster.do("hold", worker="alpha", count=3, size=100_000)
    await cluster.do("hold", worker="gamma", count=4)
    await cluster.do("fail")
    await cluster.do("long", worker="alpha", seconds=300)
    await cluster.do("long", worker="gamma", seconds=300, count=2)

    async def all_processing() -> bool:
        return sum(map(len, (await rpc.call("processing")).values())) == 3

    await until(all_processing, "three tasks in processing")
    os.killpg(cluster.workers["gamma"].pid, signal.SIGKILL)
    await until(lambda: workers(2), "gamma is gone")

    async def told() -> bool:
        entries = (await rpc.call("identity"))["workers"].values()
        counts = [entry["metrics"].get("task_counts", {}) for entry in entries]
        return sum(count.get("executing", 0) for count in counts) == 3

    await until(told, "heartbeats tell of all three")


async def _answers(rpc: RpcClient) -> bool:
    try:
        await rpc.call("identity")
    except Exception:  # noqa: BLE001 -- it is starting
        return False
    return True


async def _ask(rpc: RpcClient, version: str) -> dict[str, Any]:
    answers = {op: await rpc.call(op) for op in ("identity", "processing", "versions")}
    for topic in topics(parse_version(version)):
        answers[f"events-{topic}"] = await rpc.call("events", topic=topic)
    gone = next(m["worker"] for _, m in answers["events-all"] if m["action"] == "remove-worker")
    answers["events-removed"] = await rpc.call("events", topic=gone)
    return answers


def _anonymous(answers: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(dump(answers))
    identity = answers["identity"]
    names = {entry["name"]: address for address, entry in identity["workers"].items()}
    (gone,) = {m["worker"] for _, m in answers["events-all"] if m["action"] == "remove-worker"}
    names["gamma"] = gone
    text = text.replace(identity["address"], f"tcp://{HOSTS['scheduler']}:8786")
    text = re.sub(r"(Client-[0-9a-f-]{24})[0-9a-f]{12}", r"\g<1>000000000000", text)  # ends in this machine's MAC
    for index, (name, address) in enumerate(sorted(names.items())):
        text = text.replace(address, f"tcp://{HOSTS[name]}:{40001 + index}")
    result: dict[str, Any] = json.loads(text)
    live = result["identity"]
    live["services"]["dashboard"] = 8787
    live["workers"] = dict(sorted(live["workers"].items()))
    for entry in live["workers"].values():
        entry["host"] = HOSTS[entry["name"]]
        entry["services"]["dashboard"] = 8790
        entry["nanny"] = entry["nanny"] and f"tcp://{entry['host']}:8791"
        entry["local_directory"] = f"/tmp/dask/{entry['name']}"
    result["versions"]["host"]["OS-release"] = "6.1.0"
    left = re.findall(r"127\.0\.0\.1\S*|/tmp/(?!dask/)\S*|/work\S*|/root\S*", json.dumps(result))
    assert not left, left
    return result


if __name__ == "__main__":
    for each in sys.argv[1:] or VERSIONS:
        asyncio.run(record(each))
