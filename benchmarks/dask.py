"""Dask clusters of 1,000 and 10,000 workers, and a scheduler's own /metrics through the filter."""

from __future__ import annotations

import gzip
import socket
import statistics
import time

from benchmarks.encoding import best
from benchmarks.processes import Client, exporter, stand_in
from benchmarks.table import Row, Table, ms
from exporter import dask_protocol
from exporter.native import PrefixFilter

_OPERATIONS: tuple[dict[str, object], ...] = (
    {"op": "identity"},
    {"op": "processing"},
    {"op": "events", "topic": "all"},
)


def measure() -> list[Table]:
    """One probe each, and the filter."""
    return [
        _cluster(1_000, probes=20, wall=0.25, cpu=3e-6),  # 60 ms for 20 series a worker
        _cluster(10_000, probes=4, wall=3.0, cpu=None),
        _filter(),
    ]


def _cluster(workers: int, *, probes: int, wall: float, cpu: float | None) -> Table:
    with stand_in("dask", workers) as upstream:
        address = f"tcp://127.0.0.1:{upstream.port}"
        floor, size = _floor(upstream.port)
        with exporter({"dask": [{"name": "main", "scheduler": address, "timeout": "30s"}]}) as our:
            client = Client(our.port)
            client.get("/probe?target=main")
            client.get("/probe?target=main")
            before = our.cpu()
            seen = [client.get("/probe?target=main") for _ in range(probes)]
            spent = (our.cpu() - before) / probes
            took = statistics.median(seconds for seconds, _ in seen)
            series = _series(our.port)
            memory = our.rss()
    each = spent / series
    reach_cpu = (f"{each * 1e6:.1f} µs a series", f"at most {cpu * 1e6:.1f}", each <= cpu) if cpu else ()
    rows = [
        Row("wall", ms(took), f"{took / floor:.1f} of the floor", f"under {ms(wall)}", took < wall),
        Row("CPU", ms(spent), *reach_cpu),
        Row("memory of the exporter", f"{memory:.0f} MiB"),
        Row(f"floor: the scheduler's three answers, {size >> 10} KiB, read and thrown away", ms(floor), "1"),
    ]
    return Table(f"A Dask cluster of {workers:,} workers, {series:,} series, a probe", rows)


def _series(port: int) -> int:
    connection = Client(port)
    text = connection.get("/metrics?collect[]=self")[1]
    page = gzip.decompress(text).decode()
    [line] = [line for line in page.splitlines() if line.startswith("cluster_ai_exporter_target_series{")]
    return int(float(line.rpartition(" ")[2]))


def _floor(port: int) -> tuple[float, int]:
    """Seconds until the stand-in's answers were read, undecoded, and their bytes."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        stream = connection.makefile("rwb")

        def ask(message: dict[str, object]) -> int:
            stream.write(dask_protocol.encode(message))
            stream.flush()
            size = dask_protocol.block_size(stream.read(dask_protocol.SIZE_BYTES))
            return len(stream.read(size))

        ask(dict(dask_protocol.HANDSHAKE))
        walls = []
        total = 0
        for _ in range(5):
            start = time.perf_counter()
            total = sum(ask({**operation, "reply": True}) for operation in _OPERATIONS)
            walls.append(time.perf_counter() - start)
        stream.close()
    return min(walls), total


def native_page(prefixes: int) -> bytes:
    """A scheduler's /metrics after that many one-off prefixes: eight series each (dask/distributed, B4)."""
    lines = ["# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.7e+09\n"]
    for name, kind in (
        ("tasks_suspicious_total", "counter"),
        ("tasks_compute_seconds_total", "counter"),
        ("tasks_transfer_seconds_total", "counter"),
        ("tasks_output_bytes", "gauge"),
    ):
        lines.append(f"# HELP dask_scheduler_{name} Something of a prefix.\n# TYPE dask_scheduler_{name} {kind}\n")
        lines += [f'dask_scheduler_{name}{{task_prefix_name="one-off-{n:06d}"}} {n}.0\n' for n in range(prefixes)]
    name = "dask_scheduler_prefix_state_totals_total"
    lines.append(f"# HELP {name} Something of a prefix.\n# TYPE {name} counter\n")
    for number in range(prefixes):
        for state in ("waiting", "processing", "memory", "forgotten"):
            lines.append(f'{name}{{state="{state}",task_prefix_name="one-off-{number:06d}"}} 1.0\n')
    return "".join(lines).encode()


def _filter() -> Table:
    page = native_page(4_000)
    prefixes = PrefixFilter(100)
    spent = best(lambda: prefixes.apply(page))
    text = prefixes.apply(page).text
    reach = 0.1
    rows = [
        Row(
            f"{page.count(b'{'):,} series, {len(page) / 2**20:.2f} MiB, to {len(text) >> 10} KiB",
            ms(spent),
            "",
            f"under {ms(reach)} of CPU, in a thread",
            spent < reach,
        )
    ]
    return Table("A scheduler's own /metrics through the filter", rows)
