"""One collection as the exporter does it: does every part answer, how long does it take, how much does it bring."""

from __future__ import annotations

from typing import cast

from exporter.collectors import registry
from exporter.doctor.exam import Visit
from exporter.doctor.findings import Finding, warning
from exporter.scrape import Collection, Watch
from provisioning.config.targets import DaskTarget, GenerationProbe, HttpTarget, OllamaTarget

PART_FAILS = warning(
    "part-fails",
    "The target answers, but part of what the exporter asks fails; the series of that part are missing.",
    "follow the message; it is also the reason of <system>_collector_errors_total",
)
SCRAPE_SLOW = warning(
    "scrape-slow",
    "A collection takes more than half of the time it may take; under load it will be cut off.",
    "raise `timeout` (at most 4s helps with the rendered Prometheus), or look at why the target is slow",
)
SERIES_NEAR_LIMIT = warning(
    "series-near-limit",
    "The target gives more than four fifths of its series_limit; beyond it whole families are left out.",
    "raise series_limit, or set worker_series: false for a large Dask cluster",
)
SERIES_DROPPED = warning(
    "series-dropped",
    "The target gives more series than its series_limit, so some are left out.",
    "raise series_limit, or set worker_series: false for a large Dask cluster",
)

PROMETHEUS_WAITS = 4.0  # seconds: the rendered job's scrape_timeout less what the exporter keeps back
_SLOW, _FULL = 0.5, 0.8


async def check(visit: Visit) -> list[Finding]:
    """Findings of one collection. The generation probe is left out: it makes the target work."""
    target = cast("DaskTarget | HttpTarget", visit.target)
    if isinstance(target, OllamaTarget):
        target = target.model_copy(update={"generation_probe": GenerationProbe()})
    collector = registry()[visit.system].build(target, visit.wires, visit.hosts, visit.clock)
    watch = Watch(target, collector)
    try:
        seen = await watch.collect(target.timeout)
    finally:
        await watch.close()
    return [*_parts(visit, seen), *_pace(target, seen), *_series(target, collector.prefix, seen)]


def _parts(visit: Visit, seen: Collection) -> list[Finding]:
    by_message: dict[str, list[str]] = {}
    for name, outcome in seen.outcomes.items():
        if outcome.error is not None and name not in visit.explained:
            by_message.setdefault(_without_path(str(outcome.error)), []).append(name)
    return [PART_FAILS.found(f"{', '.join(names)}: {message}") for message, names in by_message.items()]


def _without_path(message: str) -> str:
    """Parts that fail alike at different paths are one finding."""
    return message.partition(": ")[2] if message.startswith("/") else message


def _pace(target: DaskTarget | HttpTarget, seen: Collection) -> list[Finding]:
    most = min(target.timeout, PROMETHEUS_WAITS)
    if seen.seconds <= _SLOW * most:
        return []
    return [SCRAPE_SLOW.found(f"a collection took {seen.seconds:.1f} s of the {most:g} s it may take")]


def _series(target: DaskTarget | HttpTarget, prefix: str, seen: Collection) -> list[Finding]:
    dropped = _value(seen, f"{prefix}_series_dropped")
    if dropped:
        return [SERIES_DROPPED.found(f"{int(dropped)} series left out at series_limit {target.series_limit}")]
    if seen.series <= _FULL * target.series_limit:
        return []
    return [SERIES_NEAR_LIMIT.found(f"{seen.series} series of series_limit {target.series_limit}")]


def _value(seen: Collection, name: str) -> float:
    return next((value for family in seen.families if family.name == name for _, value in family.samples), 0.0)
