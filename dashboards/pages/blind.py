"""The panels about what of a target cannot be read: every detail page has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Column, Query, above, plain, table, timeseries
from dashboards.kit.house import GREEN, RED
from dashboards.kit.states import State
from dashboards.pages import queries


def parts(system: str, selector: str, limits: Mapping[str, float]) -> Any:
    """Which parts of a look give nothing."""
    prefix = queries.PREFIX[system]

    def of(metric: str) -> str:
        return f"max by (target, collector) ({prefix}_collector_{metric}{{{selector}}})"

    return table(
        "What cannot be read?",
        description="Each part of a look at the target, failed ones first: their panels here are empty or old. The "
        "panel beside this says why; `cluster-ai doctor` says what to do. Age: answers that cost the target work are "
        "kept.",
        columns=[
            Column(title="Part", field="collector"),
            Column(title="Of", field="target"),
            Column(title="State", query=of("success"), states=(State(0, "failed", RED), State(1, "read", GREEN))),
            Column(title="Took", query=of("duration_seconds"), unit="s"),
            Column(
                title="Age",
                query=of("age_seconds"),
                unit="s",
                decimals=0,
                levels=above(limits["collector_age_seconds"]),
            ),
        ],
        empty="not configured",
        sort="State",
        descending=False,
    )


def reasons(system: str, selector: str) -> Any:
    """Why calls failed, a second."""
    chosen = f'{{system="{system}", {selector}}}'
    return timeseries(
        "Why do looks fail?",
        description="Failed calls to the target, a second, by reason; none is good. timeout: slow or blocked. "
        "unauthorized or forbidden: its key. connection_refused: it is not running. decode: a version we do not know.",
        unit="ops",
        queries=[Query(queries.LOOKS_FAILING.format(selector=chosen), "{{target}}: {{reason}}", "15s")],
        levels=plain(),
        empty="none fail",
    )


def took(system: str, selector: str, limits: Mapping[str, float]) -> Any:
    """How long a look takes."""
    prefix = queries.PREFIX[system]
    return timeseries(
        "How long does a look take?",
        description="Time the exporter needs to ask the target. It climbs when the target is slow to answer, often "
        "before its users notice. Prometheus gives up at 4.5 s.",
        unit="s",
        queries=[Query(f"max by (target) ({prefix}_scrape_duration_seconds{{{selector}}})", "{{target}}")],
        levels=above(limits["target_scrape_seconds"], limits["target_scrape_seconds_critical"]),
        empty="not configured",
    )
