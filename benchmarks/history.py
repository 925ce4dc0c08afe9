"""Thirty days of 1,000 Dask workers, written as promtool backfills them: the series that pages read, and no others.

A sample every five minutes. Names and labels are those of the recordings under tests/; what each worker has only as it
is now, in tables, has samples of the last minutes alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from prometheus_client.parser import text_string_to_metric_families as parse

WORKERS = 1_000
DAYS = 30
EVERY = 300  # s
NOW_ALONE = 4  # samples of what is read as it is now
ROOT = Path(__file__).resolve().parents[1]
_BY_PAGE = {
    "tests/golden/dask/2026.8.0.txt": 'job="probe",system="dask",target="main",host="head"',
    "tests/golden/ollama/0.17.4.txt": 'job="probe",system="ollama",target="gpu-1",host="gpu-1"',
    "tests/golden/openwebui/0.12.4.txt": 'job="probe",system="openwebui",target="chat",host="chat"',
    "tests/fixtures/native/dask-scheduler.txt": 'job="native",system="dask",target="main",host="head"',
    "tests/fixtures/native/node_exporter.txt": 'job="node",host="head"',
    "tests/fixtures/native/node_exporter-hwmon.txt": 'job="node",host="head"',
    "tests/fixtures/native/dcgm-exporter.txt": 'job="gpu",host="gpu-1"',
    "tests/fixtures/native/prometheus.txt": 'job="prometheus"',
    "tests/fixtures/native/alertmanager.txt": 'job="alertmanager"',
    "tests/fixtures/native/grafana.txt": 'job="grafana"',
    "tests/fixtures/native/exporter.txt": 'job="exporter"',
    "tests/fixtures/native/sms_bridge.txt": 'job="sms_bridge"',
}
_DISCOVERED = ("job", "system", "target", "host", "instance")
RAW = ("dask_cluster_worker_memory_rss_bytes", "dask_cluster_worker_memory_limit_bytes", "up")
"""Series of each worker that have all their samples, so that panels can be asked without recording rules too."""
Series = tuple[str, str, Callable[[int], float], bool]


def write(
    out: TextIO, wanted: Iterable[str], rules: Sequence[dict[str, Any]], *, end: int, days: int, raw: bool
) -> int:
    """Writes OpenMetrics of every name in `wanted`, of `days` up to `end` (seconds); returns the number of samples.

    `rules` are the installation's recording rules whose expression is a constant. Only with `raw` have the series of
    each worker in RAW all their samples.
    """
    wanted = frozenset(wanted)
    families: dict[str, dict[frozenset[str], Series]] = {}
    for one in (*_recorded(), *_workers(), *_top(), *_constants(rules), *_alerts()):
        if one[0] in wanted:  # recordings of one kind overlap: each series once
            families.setdefault(one[0], {}).setdefault(frozenset(one[1].split(",")), one)
    moments = range(end - days * 86_400, end + 1, EVERY)
    stamps = [f" {moment}\n" for moment in moments]
    written = 0
    for name in sorted(families):
        out.write(f"# TYPE {name} unknown\n")
        for _, labels, value, kept in families[name].values():
            whole = kept and (raw or not (name in RAW and "worker=" in labels))
            first = 0 if whole else len(stamps) - NOW_ALONE
            head = f"{name}{{{labels}}} "
            lines = [
                f"{head}{number:g}{stamps[index]}"
                for index in range(first, len(stamps))
                if (number := value(index)) == number
            ]
            out.write("".join(lines))
            written += len(lines)
    out.write("# EOF\n")
    return written


def _recorded() -> Iterator[Series]:
    """The recordings: gauges stay near their value, counters climb."""
    for file, added in _BY_PAGE.items():
        for family in parse((ROOT / file).read_text()):
            for sample in family.samples:
                if "worker" in sample.labels:
                    continue
                labels = ",".join((f'{name}="{value}"' for name, value in _own(sample.labels).items()))
                joined = ",".join(part for part in (labels, added, 'instance="10.0.0.5:1"') if part)
                climbs = sample.name.endswith(("_total", "_bucket", "_count", "_sum"))
                yield sample.name, joined, _counter(sample.value) if climbs else _gauge(sample.value), True


def _own(labels: dict[str, str]) -> dict[str, str]:
    """Without those that discovery sets."""
    return {name: value for name, value in labels.items() if name not in _DISCOVERED}


def _workers() -> Iterator[Series]:
    """Each worker's series, after one of the recording."""
    file = ROOT / "tests/golden/dask/2026.8.0.txt"
    samples = [sample for family in parse(file.read_text()) for sample in family.samples if "worker" in sample.labels]
    first = samples[0].labels["worker"]
    for number in range(WORKERS):
        where = f'worker="w{number}",host="host-{number % 50}",system="dask",target="main"'
        for sample in samples:
            if sample.labels["worker"] == first:
                own = {name: value for name, value in _own(sample.labels).items() if name != "worker"}
                labels = ",".join((*(f'{name}="{value}"' for name, value in own.items()), 'job="probe"', where))
                yield sample.name, labels, _gauge(sample.value, number), sample.name in RAW
        of_rule = f'worker="w{number}",host="host-{number % 50}",target="main"'
        yield "worker:dask_listed:order", of_rule, _gauge(0.4, number), False
        native = f'job="native",instance="10.0.{number % 50}.{number // 50}:1",{where}'
        yield "up", native, _one, True
        yield "scrape_duration_seconds", native, _one, False
        yield "scrape_samples_post_metric_relabeling", native, _one, False
    for job in ("probe", "exporter", "prometheus", "alertmanager", "grafana", "node"):
        yield "up", f'job="{job}",instance="10.0.0.5:1",host="head",system="dask",target="main"', _one, True
        yield "job:up:min", f'job="{job}"', _one, True


def _top() -> Iterator[Series]:
    """Of each recorded top ten: ten of the workers at a time, others every day."""
    for record in (
        *("memory_ratio", "disk_spilled_bytes", "event_loop_interval_seconds"),
        *("oldest_processing_task_seconds", "transfer_outgoing_bytes"),
    ):
        for number in range(DAYS * 10):
            day = number // 10
            labels = f'worker="w{number}",host="host-{number % 50}",target="main"'
            yield f"worker:dask_{record}:top10", labels, _during(day), True
    yield "target:dask_transfer_outgoing_bytes:rate1m", 'target="main"', _one, True
    yield "host:node_cpu_busy:ratio_rate1m", 'host="head"', _gauge(0.4), True
    for reason in ("timeout", "connection_refused", "decode"):
        yield "target_reason:collector_errors:rate1m", f'system="dask",target="main",reason="{reason}"', _one, True


def _constants(rules: Sequence[dict[str, Any]]) -> Iterator[Series]:
    """Thresholds, alerts there are, people: once a minute in truth, as they are now here."""
    for rule in rules:
        labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
        yield rule["record"], labels, _one, False


def _alerts() -> Iterator[Series]:
    """Forty alerts that fire for an hour a day each, and what is recorded of them."""
    for number in range(40):
        about = f'alertname="Alert{number}",severity="warning",system="dask",target="main",host="host-{number}"'
        yield "ALERTS", f'{about},alertstate="firing"', _hourly(number), True
        yield "cluster_ai:alert_since:seconds", about, _hourly(number), True
        yield "ALERTS_FOR_STATE", about, _hourly(number), True
        for window in ("30d", "90d"):
            yield f"cluster_ai:alert_fired:count{window}", about, _one, False
            yield f"cluster_ai:alert_firing:seconds{window}", about, _one, False
        yield "cluster_ai:alert_last_since:seconds90d", about, _one, False


def _one(_index: int) -> float:
    return 1.0


def _gauge(value: float, seed: int = 0) -> Callable[[int], float]:
    """Near its value: whole numbers that say a state stay, and moments, whose every change would be a restart."""
    if value in (0.0, 1.0) or value > 1e9 or value != value:  # noqa: PLR0124, PLR2004 -- NaN; 2001
        return lambda _index: value
    steps = [value * random.Random(seed * 16 + step).uniform(0.9, 1.1) for step in range(16)]  # noqa: S311
    return lambda index: steps[index % 16]


def _counter(value: float) -> Callable[[int], float]:
    return lambda index: value + index * (value > 0)


def _during(day: int) -> Callable[[int], float]:
    a_day = 86_400 // EVERY
    return lambda index: 0.5 + index % 7 / 20 if index // a_day == day else float("nan")


def _hourly(number: int) -> Callable[[int], float]:
    a_day, an_hour = 86_400 // EVERY, 3_600 // EVERY
    return lambda index: 1.0 if (index + number * 7) % a_day < an_hour else float("nan")
