"""A series for each alert there is, so that pages can list them all and link each to its runbook and its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alert_rules import links
from alert_rules.runbooks import panel_id
from alert_rules.writing import Alert

NAME = "cluster_ai:alert:info"
_ABOUT = ("target", "host", "worker")


def group(alerts: Sequence[Alert]) -> dict[str, Any]:
    """The rule group. Once a minute is enough: Prometheus shows a series for five."""
    return {"name": "alerts", "interval": "1m", "rules": [_rule(alert) for alert in alerts]}


def _rule(alert: Alert) -> dict[str, Any]:
    """`page`: uid of the page that shows the cause, `target_as` and its like: which of its variables takes that label.

    `runbook` is the panel on the page of runbooks.
    """
    taken = {label: variable for variable, label in links.PAGES[alert.page].items() if label in alert.labels}
    labels = {
        "alertname": alert.name,
        "severity": alert.severity,
        "system": alert.system,
        "page": alert.page,
        "runbook": f"panel-{panel_id(alert.name)}",
        # A link needs a name in any case; this one is nobody's.
        **{f"{label}_as": taken.get(label, "none") for label in _ABOUT},
    }
    return {"record": NAME, "expr": "vector(1)", "labels": labels}
