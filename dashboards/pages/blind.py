"""The panels about what of a target cannot be read: every detail page has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import Query, above, plain, state_timeline, timeseries
from dashboards.kit.house import GREEN, RED
from dashboards.kit.states import State
from dashboards.pages import queries


def parts(system: str, selector: str) -> Any:
    """Which parts of a look gave nothing, over time."""
    prefix = queries.PREFIX[system]
    return state_timeline(
        "What cannot be read?",
        description="One band for each part of a look at the target. Failed: its panels here are empty or old. The "
        "panel beside this says why; `cluster-ai doctor` says what to do.",
        queries=[
            Query(f"min by (target, collector) ({prefix}_collector_success{{{selector}}})", "{{target}}: {{collector}}")
        ],
        states=(State(0, "Failed", RED), State(1, "Read", GREEN)),
        empty="not configured",
    )


def reasons(system: str, selector: str) -> Any:
    """Why calls failed, a second."""
    prefix = queries.PREFIX[system]
    return timeseries(
        "Why do looks fail?",
        description="Failed calls to the target, a second, by reason; none is good. timeout: slow or blocked. "
        "unauthorized or forbidden: its key. connection_refused: it is not running. decode: a version we do not know.",
        unit="ops",
        queries=[
            Query(
                f"sum by (target, reason) (rate({prefix}_collector_errors_total{{{selector}}}[$__rate_interval])) > 0",
                "{{target}}: {{reason}}",
            )
        ],
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
