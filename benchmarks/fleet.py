"""A whole fleet in one exporter: its share of a core, its memory, and whether one target harms another."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.processes import Client, Process, exporter, stand_in
from benchmarks.table import Row, Table, ms, p95

_INTERVAL = 15.0  # seconds between two scrapes of a target
_RUN = 30.0


def measure() -> list[Table]:
    """Share, memory, isolation."""
    with stand_in("ollama", 10) as ollama, stand_in("dask", 10) as dask:
        many = Table("A fleet", [_share(ollama, dask)])
    with stand_in("ollama", 50) as ollama, stand_in("dask", 50) as dask:
        many.rows.append(_memory(ollama, dask))
        isolation = Table("One target's trouble is not another's", [*_hanging(ollama)])
    with stand_in("ollama", 50) as ollama, stand_in("dask", 1_550) as dask:
        isolation.rows.extend(_large(ollama, dask))
    return [many, isolation]


def _ollamas(count: int, upstream: Process, path: str = "t") -> list[dict[str, object]]:
    return [{"name": f"{path}-{n}", "url": f"http://127.0.0.1:{upstream.port}/{path}{n}"} for n in range(count)]


def _dasks(count: int, upstream: Process) -> list[dict[str, object]]:
    return [{"name": f"dask-{n}", "scheduler": f"tcp://127.0.0.1:{upstream.port}"} for n in range(count)]


def _share(ollama: Process, dask: Process) -> Row:
    """200 targets, each every 15 s, spread evenly as Prometheus does."""
    targets = {"ollama": _ollamas(150, ollama), "dask": _dasks(50, dask)}
    with exporter(targets) as our:
        names = [str(target["name"]) for kind in targets.values() for target in kind]
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_paced, our, names, _INTERVAL).result()  # connections, first answers
            before, start = our.cpu(), time.perf_counter()
            pool.submit(_paced, our, names, _RUN).result()
            share = (our.cpu() - before) / (time.perf_counter() - start)
    return Row(
        "200 targets (150 Ollama with 10 models, 50 Dask clusters of 10 workers) every 15 s",
        f"{share * 100:.1f} % of a core",
        "",
        "under 25 %",
        share < 0.25,  # noqa: PLR2004 -- the reach
    )


def _paced(our: Process, names: list[str], seconds: float) -> None:
    client = Client(our.port)
    rounds = int(seconds / _INTERVAL)
    start = time.perf_counter()
    for number, name in enumerate(names * rounds):
        due = start + number * _INTERVAL / len(names)
        time.sleep(max(0.0, due - time.perf_counter()))
        client.get(f"/probe?target={name}")


def _memory(ollama: Process, dask: Process) -> Row:
    with exporter({"ollama": _ollamas(14, ollama), "dask": _dasks(6, dask)}) as our:
        client = Client(our.port)
        for _ in range(30):
            client.get("/metrics")
        memory = our.rss()
    reach = 80
    what = "resident memory, 20 targets (14 Ollama with 50 models, 6 Dask clusters of 50 workers)"
    return Row(what, f"{memory:.0f} MiB", "", f"under {reach} MiB", memory < reach)


def _hanging(ollama: Process) -> Iterator[Row]:
    targets = _ollamas(19, ollama)
    hanging = {"name": "hang", "url": f"http://127.0.0.1:{ollama.port}/hang"}
    with exporter({"ollama": [*targets, hanging]}) as our:
        names = [str(target["name"]) for target in targets]
        _latencies(our, names, 3)
        alone = _latencies(our, names, 20)
        with _meanwhile(our, "/probe?target=hang"):
            beside = _latencies(our, names, 20)
    moved = p95(beside) - p95(alone)
    reach = 0.005
    yield Row("p95 of 19 targets, nothing else", ms(p95(alone)))
    yield Row(
        "p95 of the same while the 20th hangs",
        ms(p95(beside)),
        f"{moved * 1000:+.1f} ms",
        f"under {ms(reach)}",
        moved < reach,
    )


def _large(ollama: Process, dask: Process) -> Iterator[Row]:
    """Small targets while a cluster of nearly 50,000 series is scraped again and again."""
    small = _ollamas(5, ollama)
    large = {"name": "large", "scheduler": f"tcp://127.0.0.1:{dask.port}", "timeout": "10s"}
    with exporter({"ollama": small, "dask": [large]}) as our:
        names = [str(target["name"]) for target in small]
        client = Client(our.port)
        client.get("/probe?target=large")
        whole = statistics.median(client.get("/probe?target=large")[0] for _ in range(5))
        _latencies(our, names, 5)
        alone = _latencies(our, names, 40)
        with _meanwhile(our, "/probe?target=large"):
            beside = _latencies(our, names, 40)
    yield Row("a probe of nearly 50,000 series, end to end", ms(whole), "", "under 1000 ms", whole < 1.0)
    yield Row("p95 of 5 small targets, nothing else", ms(p95(alone)))
    yield Row(
        "p95 of the same while the large one is scraped without pause",
        ms(p95(beside)),
        f"longest {ms(max(beside))}",
        "unharmed (under 250 ms)",
        p95(beside) < 0.25,  # noqa: PLR2004 -- our reading of unharmed: far from any time-out
    )


def _latencies(our: Process, names: list[str], rounds: int) -> list[float]:
    clients = {name: Client(our.port) for name in names}
    return [clients[name].get(f"/probe?target={name}")[0] for _ in range(rounds) for name in names]


@contextmanager
def _meanwhile(our: Process, path: str) -> Iterator[None]:
    """Ask for `path` again and again beside the body."""
    stop = threading.Event()

    def ask() -> None:
        client = Client(our.port)
        while not stop.is_set():
            client.get(path)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        time.sleep(0.2)  # it is under way
        yield
    finally:
        stop.set()
        thread.join()
