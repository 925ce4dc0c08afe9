"""What a page of Grafana asks of Prometheus with 1,000 workers and 30 days of history."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import yaml

from alert_rules.render import rules
from benchmarks.history import DAYS, EVERY, WORKERS, write
from benchmarks.processes import Client, Process
from benchmarks.table import Row, Table, ms
from compose.native.binaries import find
from compose.native.places import default_cache_dir
from provisioning.config.load import load
from tests.dashboards.reading import PAGES, Asked, queries
from tests.dashboards.test_metrics import names
from tests.ports import free_port

_STEP = DAYS * 86_400 // 1_000  # a thousand points across a panel
_TIMES = 3
_SLOWEST, _TOGETHER = 0.2, 1.0  # s
_EXAMPLE = Path(__file__).resolve().parents[1] / "provisioning/example.yml"


def measure() -> list[Table]:
    """Each page's slowest query and all of them, then some with recording rules beside the same without."""
    with tempfile.TemporaryDirectory() as folder, _prometheus(Path(folder)) as (process, end):
        client = Client(process.port)
        spent = {asked: _took(client, asked.expr, end, asked=asked) for asked in queries() if asked.kind != "variable"}
        return [_pages(spent), _recorded(client, end)]


def _pages(spent: dict[Asked, float]) -> Table:
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


def _recorded(client: Client, end: int) -> Table:
    """What a recording rule saves: its expression asked in its place."""
    rows = []
    for record, raw in (
        ("worker:dask_memory_ratio:top10", _rule("workers", "worker:dask_memory_ratio:top10")),
        ("job:up:min", _rule("workers", "job:up:min")),
        ("cluster_ai:alert_fired:count30d", _rule("history", "cluster_ai:alert_fired:count30d")),
    ):
        instant = record.startswith("cluster_ai")
        with_rule, without = (_took(client, expr, end, instant=instant) for expr in (record, raw))
        rows.append(Row(f"`{record}`", ms(with_rule), f"{with_rule / without:.3f} of {ms(without)} without"))
    return Table("The same panels with their recording rules and without", rows)


def _rule(file: str, record: str) -> str:
    groups = yaml.safe_load(rules(load(_EXAMPLE))[f"{file}.yml"])["groups"]
    return next(str(rule["expr"]) for group in groups for rule in group["rules"] if rule["record"] == record)


def _took(client: Client, expr: str, end: int, *, asked: Asked | None = None, instant: bool = False) -> float:
    """Seconds, the median of some; as Grafana asks."""
    worker = asked is not None and asked.page == "worker"
    chosen = {"dask": "main", "worker": "w7"} if worker else {}
    fixed = {"$__rate_interval": f"{_STEP + 15}s", "$__interval": f"{_STEP}s", "$__range": f"{DAYS}d"}
    for name, value in fixed.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$(\w+)", lambda match: chosen.get(match[1], match[0] if match[1].isdigit() else ".+"), expr)
    if instant or (asked is not None and asked.instant and asked.kind != "annotation"):
        path = f"/api/v1/query?{urlencode({'query': expr, 'time': end})}"
    else:
        span = {"start": end - DAYS * 86_400, "end": end, "step": _STEP}
        path = f"/api/v1/query_range?{urlencode({'query': expr, **span})}"
    return statistics.median(client.get(path)[0] for _ in range(_TIMES))


@contextmanager
def _prometheus(folder: Path) -> Iterator[tuple[Process, int]]:
    """One with the history; the moment it ends."""
    programs = {name: find(name, default_cache_dir()) for name in ("prometheus", "promtool")}
    if None in programs.values():
        raise SystemExit("no prometheus and promtool on PATH or in the cache; `make tools` gets them")
    end = int(time.time()) // EVERY * EVERY
    everything = rules(load(_EXAMPLE))
    constant = [
        rule
        for text in everything.values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "record" in rule and re.fullmatch(r"vector\([\d.e+-]+\)", rule["expr"])
    ]
    history = folder / "history.om"
    with history.open("w") as out:
        wanted = set().union(*(names(asked.expr) for asked in queries())) | {"up", "ALERTS", "ALERTS_FOR_STATE"}
        wanted |= {"dask_cluster_worker_memory_rss_bytes", "dask_cluster_worker_memory_limit_bytes"}
        wanted |= {str(rule["record"]) for rule in constant}  # thresholds are asked by a pattern
        samples = write(out, wanted, constant, end=end)
    print(f"backfilling {samples:,} samples ({history.stat().st_size >> 20} MiB) ...", flush=True)
    backfill = [str(programs["promtool"]), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=768h"]
    subprocess.run([*backfill, str(history), str(folder / "data")], check=True, stdout=subprocess.DEVNULL)
    history.unlink()
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    with ExitStack() as stack:
        port = free_port()
        started = subprocess.Popen(
            [
                str(programs["prometheus"]), f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=90d",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            ],
            text=True,
        )  # fmt: skip
        stack.callback(started.wait)
        stack.callback(started.terminate)
        _until_ready(port)
        yield Process(started, port), end


def _until_ready(port: int) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            Client(port).get("/-/ready")
        except (OSError, SystemExit):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
