"""What fired: how often, how long, when."""

from __future__ import annotations

from typing import Any

from dashboards.kit import RED, Column, Query, State, state_timeline, table
from dashboards.pages.firing import CHOSEN, SEVERITIES


def history() -> Any:
    """The last 30 and 90 days."""
    by = "alertname, severity, target, host"

    def of(name: str) -> str:
        return f"sum by ({by}) (cluster_ai:alert_{name}{{{CHOSEN}}})"

    return table(
        "What fired in the last 30 and 90 days?",
        description="Each alert by what it was about: how often it fired, and how long all in all. Often and short: it "
        "flaps, its threshold is too near. Seldom and long: nobody could mend it, or nobody heard. Told anew every two "
        "minutes.",
        columns=[
            Column(title="Alert", field="alertname", query=of("fired:count90d"), width=260),
            Column(title="Severity", field="severity", words=SEVERITIES, width=90),
            Column(title="Target", field="target"),
            Column(title="Host", field="host"),
            Column(title="30 days", query=of("fired:count30d"), unit="none", width=90),
            Column(title="For", query=of("firing:seconds30d"), unit="dtdurations"),
            Column(title="90 days", query=of("fired:count90d"), unit="none", width=90),
            Column(title="For in all", query=of("firing:seconds90d"), unit="dtdurations"),
            Column(
                title="Began last",
                query=f"max by ({by}) (cluster_ai:alert_last_since:seconds90d{{{CHOSEN}}}) * 1000",
                unit="dateTimeFromNow",
            ),
        ],
        empty="nothing fired",
        sort="30 days",
    )


def when() -> Any:
    """One band for each alert, over the time chosen."""
    return state_timeline(
        "When did what fire?",
        description="A band for each alert within the time chosen above. Those that begin together have one cause; the "
        "one that began first is where to look.",
        queries=[
            Query(
                f'max by (alertname, target, host) (ALERTS{{alertstate="firing", {CHOSEN}}})',
                "{{alertname}} {{target}} {{host}}",
            )
        ],
        states=[State(1, "fires", RED)],
        empty="nothing fired",
        seen=f"cluster_ai:alert_since:seconds{{{CHOSEN}}}[$__range]",
    )
