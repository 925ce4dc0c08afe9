"""One Ollama with 50 models: our three calls, what others take for one, and Ollama's own answer."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from benchmarks.processes import Client, Process, exporter, free_port, running, stand_in
from benchmarks.table import Row, Table, ms

_MODELS = 50
_PROBES = 300
_REACH = 0.4  # of json_exporter's CPU


def measure() -> Table:
    """CPU a probe, ours and of the peers on PATH."""
    with stand_in("ollama", _MODELS) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        floor_cpu, floor_wall = _cost(upstream, upstream.port, ["/api/tags", "/api/ps", "/api/version"])
        with exporter({"ollama": [{"name": "gpu", "url": url}]}) as our:
            own_cpu, own_wall = _cost(our, our.port, ["/probe?target=gpu"])
        json_exporter = _json_exporter(url)
        ollama_metrics = _ollama_metrics(url)
    rows = [Row("ours: /api/tags, /api/ps, /api/version", _words(own_cpu, own_wall))]
    if json_exporter is None:
        rows.append(Row("json_exporter", "skipped: not on PATH"))
    else:
        ratio = own_cpu / json_exporter[0]
        rows[0] = Row(
            rows[0].what,
            rows[0].value,
            f"{ratio:.2f} of json_exporter's CPU",
            f"at most {_REACH}",
            ratio <= _REACH,
        )
        rows.append(Row("json_exporter: /api/tags alone", _words(*json_exporter), "1"))
    if ollama_metrics is None:
        rows.append(Row("ollama-metrics", "skipped: not on PATH"))
    else:
        rows.append(
            Row(
                "ollama-metrics: /api/ps alone",
                _words(*ollama_metrics),
                f"{ollama_metrics[0] / own_cpu:.2f} of our CPU",
            )
        )
    rows.append(Row("floor: the upstream's three answers", _words(floor_cpu, floor_wall), "asked one after another"))
    return Table(f"One Ollama with {_MODELS} models, a probe", rows)


def _words(cpu: float, wall: float) -> str:
    return f"{cpu * 1000:.2f} ms CPU, {ms(wall)} wall"


def _cost(process: Process, port: int, paths: Sequence[str]) -> tuple[float, float]:
    """CPU seconds of `process` and median seconds for one round of `paths`."""
    client = Client(port)
    for _ in range(20):
        for path in paths:
            client.get(path)
    before = process.cpu()
    walls = [sum(client.get(path)[0] for path in paths) for _ in range(_PROBES)]
    return (process.cpu() - before) / _PROBES, statistics.median(walls)


def _json_exporter(url: str) -> tuple[float, float] | None:
    program = shutil.which("json_exporter")
    if program is None:
        return None
    labels = {"name": "{.name}", "family": "{.details.family}", "quantization": "{.details.quantization_level}"}
    metric = {"name": "ollama_model", "type": "object", "path": "{ .models[*] }", "labels": labels}
    config = {"modules": {"default": {"metrics": [{**metric, "values": {"size_bytes": "{.size}", "info": 1}}]}}}
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "json_exporter.yml"
        file.write_text(yaml.safe_dump(config))
        command = [program, f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        return _peer(command, port, f"/probe?module=default&target={url}/api/tags")


def _ollama_metrics(url: str) -> tuple[float, float] | None:
    program = shutil.which("ollama-metrics")
    if program is None:
        return None
    port = free_port()  # it listens on every address of this machine and offers no way to change that
    return _peer([program], port, "/metrics", {"OLLAMA_HOST": url, "PORT": str(port)})


def _peer(
    command: Sequence[str], port: int, path: str, environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
    with running(command, port, path, environment) as process:
        return _cost(process, port, [path])
