"""Panels and choices that several pages have."""

from __future__ import annotations

from typing import Any

from dashboards.kit import GOOD_BAD, RED, Query, annotation, choice, plain, stat
from dashboards.pages import queries

DASK = choice("dask", "Dask cluster", "label_values(dask_cluster_up, target)")
OLLAMA = choice("ollama", "Ollama", "label_values(ollama_up, target)")
OPENWEBUI = choice("openwebui", "Open WebUI", "label_values(openwebui_up, target)")
HOST = choice("host", "Host", 'label_values(up{job="node"}, host)')


def restarts_and_alerts() -> list[dict[str, Any]]:
    """Marks that explain a bend in a line."""
    return [
        annotation(
            "Scheduler restarts",
            "dask_cluster_start_time_seconds * 1000",
            "Dask scheduler of {{target}} started",
            color="purple",
            at_value=True,
        ),
        annotation("Alerts", 'ALERTS{alertstate="firing"}', "{{alertname}} {{target}}", color=RED),
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
