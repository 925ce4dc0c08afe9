"""What all rules cost with a Dask cluster of 1,000 workers: two Prometheus side by side, one of them without rules."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import yaml

from benchmarks.processes import Client, Process, exporter, running, stand_in
from benchmarks.table import Row, Table
from compose.native.binaries import find
from compose.native.places import default_cache_dir
from provisioning.config.load import load
from provisioning.render import Places, make_secrets, render
from tests.ports import free_port

WORKERS = 1_000
_WARM_UP = 60.0  # s in which every rule runs a few times
_MEASURED = 120.0  # s
_REACH = 0.01  # of one core
_GZIP = b"\x1f\x8b"


def measure() -> Table:
    """CPU of the one with rules, less that of the one without."""
    program = find("prometheus", default_cache_dir())
    if program is None:
        raise SystemExit("no prometheus on PATH or in the cache; `make tools` gets one")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(stand_in("dask", WORKERS))
        targets = {"dask": [{"name": "main", "scheduler": f"tcp://127.0.0.1:{upstream.port}", "timeout": "10s"}]}
        our = stack.enter_context(exporter(targets))
        rendered = _rendered(folder, targets, our.port)
        both = [stack.enter_context(_prometheus(program, folder, rendered, rules=rules)) for rules in (True, False)]
        time.sleep(_WARM_UP)
        before, evaluated = [one.cpu() for one in both], _evaluating(both[0])
        time.sleep(_MEASURED)
        with_rules, without = ((one.cpu() - earlier) / _MEASURED for one, earlier in zip(both, before, strict=True))
        wall = (_evaluating(both[0]) - evaluated) / _MEASURED
        count = _rules(both[0])
    cost = with_rules - without
    rows = [
        Row(f"{count} rules, CPU", f"{cost:.2%} of a core", "", f"at most {_REACH:.0%}", cost <= _REACH),
        Row("the same, by Prometheus's own clock", f"{wall:.2%}"),
        Row("Prometheus with rules", f"{with_rules:.1%} of a core", f"{with_rules / without:.2f} of the one without"),
    ]
    return Table(f"All rules, with a cluster of {WORKERS:,} workers", rows)


def _rendered(folder: Path, targets: object, exporter_port: int) -> Path:
    file, out = folder / "cluster-ai.yml", folder / "config"
    services = {"exporter": f"127.0.0.1:{exporter_port}"}
    file.write_text(yaml.safe_dump({"targets": targets, "services": services}))
    places = Places(data=folder, secrets=folder / "secrets", alertmanager=False, grafana=False, node_exporter=False)
    make_secrets(places)
    render(load(file), out, places=places)
    without = yaml.safe_load((out / "prometheus.yml").read_text())
    del without["rule_files"]
    (out / "without.yml").write_text(yaml.safe_dump(without))
    return out


def _prometheus(program: Path, folder: Path, rendered: Path, *, rules: bool) -> AbstractContextManager[Process]:
    port, name = free_port(), "prometheus" if rules else "without"
    command = [
        *(str(program), f"--config.file={rendered}/{name}.yml", f"--storage.tsdb.path={folder}/{name}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    return running(command, port, "/-/ready")


def _evaluating(prometheus: Process) -> float:
    """Seconds that it has spent in rules so far."""
    text = _get(prometheus, "/metrics")
    [line] = [line for line in text.splitlines() if line.startswith("prometheus_rule_group_duration_seconds_sum")]
    return float(line.split()[1])


def _rules(prometheus: Process) -> int:
    groups = json.loads(_get(prometheus, "/api/v1/rules"))["data"]["groups"]
    return sum(len(group["rules"]) for group in groups)


def _get(prometheus: Process, path: str) -> str:
    client = Client(prometheus.port)
    try:
        body = client.get(path)[1]
        return (gzip.decompress(body) if body.startswith(_GZIP) else body).decode()
    finally:
        client.close()
