"""alertmanager.yml as data: valid for Alertmanager 0.25, and without anything that today's release would refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alert_rules.routing.inhibition import inhibitions
from alert_rules.routing.receivers import account, receivers
from alert_rules.routing.times import intervals
from alert_rules.routing.tree import tree
from provisioning.config.model import Config

TEMPLATES = "alertmanager/*.tmpl"
"""Where the templates of messages lie, beside alertmanager.yml."""


def settings(config: Config, *, bridge: str, token: Path) -> dict[str, Any]:
    """The file as data; it names secrets by path only.

    `bridge` is the base address of the SMS bridge, `token` the file with its bearer token.
    """
    made = tree(config)
    told = config.notifications
    return {
        # Prometheus says with each alert until when it holds; this counts for others who do not.
        "global": {"resolve_timeout": "5m", **account(told.mail)},
        "templates": [TEMPLATES],
        "route": made.root,
        "inhibit_rules": inhibitions(),
        "receivers": receivers(config, made, bridge=bridge, token=token),
        "time_intervals": intervals(told),
    }
