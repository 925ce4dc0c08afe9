"""alertmanager.yml: alerts are grouped and shown; nobody is told yet, which is a later release's work."""

from __future__ import annotations

from typing import Any


def settings() -> dict[str, Any]:
    """The file as data, valid for Alertmanager 0.25."""
    return {
        "global": {"resolve_timeout": "5m"},
        "route": {
            "receiver": "nobody",
            # One group for each ailing system or machine: a scheduler that takes its workers along is one matter.
            "group_by": ["alertname", "system", "target", "host"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "4h",
        },
        "receivers": [{"name": "nobody"}],
    }
