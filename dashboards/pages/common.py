"""Panels and choices that several pages have."""

from __future__ import annotations

from typing import Any

from dashboards.kit import GOOD_BAD, RED, Query, annotation, choice, plain, stat
from dashboards.kit.house import BLUE
from dashboards.pages import queries

# A version that was not there within the hour before: something was deployed.
_VERSION = "count by (system, target, version) ({})"
_NEW_VERSIONS = " or ".join(
    f"{_VERSION.format(f'{prefix}_info')} unless {_VERSION.format(f'last_over_time({prefix}_info[1h] offset 30s)')}"
    for prefix in queries.PREFIX.values()
)
# One request for both: the Dask schedulers by target, the parts of the monitoring by job.
_STARTED = """(
    max by (target) (dask_cluster_start_time_seconds)
    or max by (job) (process_start_time_seconds{job=~"exporter|prometheus|alertmanager|grafana"})
) * 1000"""


def of_system(system: str) -> dict[str, Any]:
    """The choice among the targets of a system."""
    title = "Cluster" if system == "dask" else queries.TITLES[system]
    return choice(system, title, f"label_values({queries.PREFIX[system]}_up, target)")


def restarts_and_alerts() -> list[dict[str, Any]]:
    """Marks that explain a bend in a line."""
    return [
        annotation("Restarts", _STARTED, "{{target}}{{job}} started", color="purple", at_value=True),
        annotation("New versions", _NEW_VERSIONS, "{{system}} {{target}} is now {{version}}", color=BLUE),
        annotation(
            "Alerts",
            "cluster_ai:alert_since:seconds * 1000",
            "{{alertname}} {{target}} {{host}}: began",
            color=RED,
            at_value=True,
        ),
    ]


def state_tile(system: str, selector: str) -> Any:
    """The worst state among the chosen targets of a system."""
    title = queries.TITLES[system]
    return stat(
        "State",
        description=f"The worst state of the chosen {title}. Partly blind: it answers, but some calls fail; "
        "`What cannot be read?` below names them. Unknown: our exporter is down.",
        unit="none",
        queries=[Query(f"min({queries.state(system, selector)})")],
        levels=plain(),
        states=GOOD_BAD,
        empty="not configured",
        filled=True,
    )


def version_tile(system: str, metric: str, selector: str) -> Any:
    """Which version runs."""
    return stat(
        "Version",
        description=f"The version {queries.TITLES[system]} says it is. Several: the chosen targets differ, which is "
        "worth ending before anything else is looked into.",
        unit="none",
        queries=[Query(f"count by (version) ({metric}{{{selector}}})", "{{version}}")],
        levels=plain(),
        empty="not told",
        names_only=True,
    )
