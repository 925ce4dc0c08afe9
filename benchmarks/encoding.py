"""Families and text: ours against prometheus-client's, the same series."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from benchmarks.table import Row, Table, ms
from exporter.families import Labels, encode, gauge

_SERIES_A_WORKER = 20
_REPEATS = 5


def best(run: Callable[[], object]) -> float:
    """CPU seconds of the best of a few runs."""
    found = []
    for _ in range(_REPEATS):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def ours(workers: int) -> str:
    """20 families of one sample a worker, as the Dask collector builds them."""
    labels = [Labels(worker=f"tcp-10-0-0-{number}", host=f"10.0.0.{number}") for number in range(workers)]
    families = []
    for number in range(_SERIES_A_WORKER):
        family = gauge(f"dask_cluster_worker_{number}", "Something of a worker.")
        for index, label in enumerate(labels):
            family.add(index + 0.5, label)
        families.append(family)
    return encode(families, openmetrics=False)


class _Theirs(Collector):
    def __init__(self, workers: int) -> None:
        self._workers = workers

    def collect(self) -> list[GaugeMetricFamily]:
        labels = [(f"tcp-10-0-0-{number}", f"10.0.0.{number}") for number in range(self._workers)]
        families = []
        for number in range(_SERIES_A_WORKER):
            family = GaugeMetricFamily(
                f"dask_cluster_worker_{number}", "Something of a worker.", labels=["worker", "host"]
            )
            for index, label in enumerate(labels):
                family.add_metric(label, index + 0.5)
            families.append(family)
        return families


def theirs(workers: int) -> str:
    """The same by prometheus-client."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Theirs(workers))
    return generate_latest(registry).decode()


def measure() -> Table:
    """Both encoders, at two sizes."""
    rows = []
    for series in (20_000, 50_000):
        workers = series // _SERIES_A_WORKER
        if ours(workers) != theirs(workers):
            raise SystemExit("our text is not prometheus-client's")
        own, other = best(lambda n=workers: ours(n)), best(lambda n=workers: theirs(n))  # type: ignore[misc]
        text = ours(workers).encode()
        rows += [
            Row(f"{series:,} series, families and text: ours", ms(own), f"{own / other:.2f} of prometheus-client"),
            Row(f"{series:,} series: prometheus-client", ms(other), "1"),
            Row(f"gzip of that text, level 1 ({len(text) >> 10} KiB)", ms(best(lambda t=text: gzip.compress(t, 1)))),  # type: ignore[misc]
        ]
    return Table("Encoding (CPU)", rows)
