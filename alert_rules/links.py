"""Where the links of a message lead. They begin with Grafana's own address, so that they work from a phone."""

from __future__ import annotations

from collections.abc import Sequence

from alert_rules.runbooks import panel_id

# Page, and which of its variables takes which label of an alert; a test holds them against the pages themselves.
PAGES: dict[str, dict[str, str]] = {
    "dashboard": {},
    "system": {"host": "host"},
    "workers": {"dask": "target"},
    "worker": {"dask": "target", "worker": "worker"},
    "dask": {"dask": "target"},
    "ollama": {"ollama": "target"},
    "proxy": {"ollama": "target"},
    "openwebui": {"openwebui": "target"},
    "alerts": {},
    "settings": {},
}


def runbook(grafana: str, name: str) -> str:
    """The panel with the alert's runbook, alone on the screen."""
    return f"{grafana}/d/cluster-ai-runbooks/?viewPanel=panel-{panel_id(name)}"


def page(grafana: str, uid: str, labels: Sequence[str]) -> str:
    """A page with what the alert is about chosen; Prometheus fills in the labels when the alert fires."""
    chosen = [
        f"var-{variable}={{{{ $labels.{label} | urlquery }}}}"
        for variable, label in PAGES[uid].items()
        if label in labels
    ]
    return f"{grafana}/d/cluster-ai-{uid}/" + (f"?{'&'.join(chosen)}" if chosen else "")
