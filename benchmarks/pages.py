"""What pages of Grafana ask of Prometheus with 1,000 workers and 30 days of history, and how long they take to draw."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import yaml

from alert_rules.render import rules
from benchmarks import drawing
from benchmarks.history import DAYS, EVERY, RAW, WORKERS, write
from benchmarks.processes import Client, Process, running
from benchmarks.table import Row, Table, ms
from compose.native.binaries import find
from compose.native.places import default_cache_dir
from provisioning.config.load import load
from tests.dashboards.reading import PAGES, Asked, queries
from tests.dashboards.test_metrics import names
from tests.ports import free_port

_POINTS = 1_000  # across a panel
_RAW_DAYS = 3  # with every sample of every worker
_TIMES = 3
_SLOWEST, _TOGETHER = 0.2, 1.0  # s
_EXAMPLE = Path(__file__).resolve().parents[1] / "provisioning/example.yml"


def measure() -> list[Table]:
    """Each page's slowest query and all of them, its drawing; some with recording rules and without."""
    everything = rules(load(_EXAMPLE))
    tables = []
    with tempfile.TemporaryDirectory() as folder, _prometheus(Path(folder), everything, DAYS, raw=False) as one:
        tables.append(_pages(Client(one.process.port), one.end))
        tables.append(drawing.measure(one.process.port, one.end))
    with tempfile.TemporaryDirectory() as folder, _prometheus(Path(folder), everything, _RAW_DAYS, raw=True) as one:
        tables.append(_recorded(Client(one.process.port), one.end, everything))
    return tables


def _pages(client: Client, end: int) -> Table:
    spent = {
        asked: _took(client, asked.expr, end, DAYS, asked=asked) for asked in queries() if asked.kind != "variable"
    }
    rows = []
    for name in PAGES:
        own = {asked: seconds for asked, seconds in spent.items() if asked.page == name}
        if own:
            slowest = max(own, key=lambda asked: own[asked])
            together = sum(own.values())
            met = own[slowest] <= _SLOWEST and together <= _TOGETHER
            value = f"{ms(own[slowest])}, together {ms(together)}"
            rows.append(Row(f"{name}: {len(own)} queries, slowest `{slowest.panel}`", value, "", "200 ms, 1 s", met))
    return Table(f"Pages over {DAYS} days of {WORKERS:,} workers, a sample every {EVERY // 60} minutes", rows)


def _recorded(client: Client, end: int, everything: dict[str, str]) -> Table:
    """What a recording rule saves: its expression asked in its place."""
    written = [
        rule
        for name in ("workers", "history")
        for group in yaml.safe_load(everything[f"{name}.yml"])["groups"]
        for rule in group["rules"]
    ]
    rows = []
    for record in ("worker:dask_memory_ratio:top10", "job:up:min"):
        raw = next(str(rule["expr"]) for rule in written if rule["record"] == record)
        with_rule, without = (_took(client, expr, end, _RAW_DAYS) for expr in (record, raw))
        rows.append(Row(f"`{record}`", ms(with_rule), f"{with_rule / without:.3f} of {ms(without)} without"))
    return Table(f"Panels over {_RAW_DAYS} days of {WORKERS:,} workers, with their recording rules and without", rows)


def _took(client: Client, expr: str, end: int, days: int, *, asked: Asked | None = None) -> float:
    """Seconds, the median of some; as Grafana asks."""
    worker = asked is not None and asked.page == "worker"
    chosen = {"dask": "main", "worker": "w7"} if worker else {}
    step = days * 86_400 // _POINTS
    fixed = {"$__rate_interval": f"{step + 15}s", "$__interval": f"{step}s", "$__range": f"{days}d"}
    for name, value in fixed.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$(\w+)", lambda match: chosen.get(match[1], match[0] if match[1].isdigit() else ".+"), expr)
    if asked is not None and asked.instant and asked.kind != "annotation":
        path = f"/api/v1/query?{urlencode({'query': expr, 'time': end})}"
    else:
        span = {"start": end - days * 86_400, "end": end, "step": step}
        path = f"/api/v1/query_range?{urlencode({'query': expr, **span})}"
    return statistics.median(client.get(path)[0] for _ in range(_TIMES))


@dataclass(frozen=True)
class _Backfilled:
    """A Prometheus with history, and the moment it ends."""

    process: Process
    end: int


@contextmanager
def _prometheus(folder: Path, everything: dict[str, str], days: int, *, raw: bool) -> Iterator[_Backfilled]:
    programs = {name: find(name, default_cache_dir()) for name in ("prometheus", "promtool")}
    if None in programs.values():
        raise SystemExit("no prometheus and promtool on PATH or in the cache; `make tools` gets them")
    end = int(time.time()) // EVERY * EVERY
    constant = [
        rule
        for text in everything.values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "record" in rule and re.fullmatch(r"vector\([\d.e+-]+\)", rule["expr"])
    ]
    wanted = set().union(*(names(asked.expr) for asked in queries()), RAW, ("ALERTS", "ALERTS_FOR_STATE"))
    wanted |= {str(rule["record"]) for rule in constant}  # thresholds are asked by a pattern
    history = folder / "history.om"
    with history.open("w") as out:
        samples = write(out, wanted, constant, end=end, days=days, raw=raw)
    print(f"backfilling {samples:,} samples ({history.stat().st_size >> 20} MiB) ...", flush=True)
    backfill = [str(programs["promtool"]), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=768h"]
    subprocess.run([*backfill, str(history), str(folder / "data")], check=True, stdout=subprocess.DEVNULL)
    history.unlink()
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    port = free_port()
    command = [
        *(str(programs["prometheus"]), f"--config.file={folder}/prometheus.yml"),
        *(f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=90d"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    with running(command, port, "/-/ready") as process:
        yield _Backfilled(process, end)
