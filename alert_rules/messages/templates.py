"""The templates that Alertmanager fills in: our files as they are, and one with what this installation is called."""

from __future__ import annotations

import json
from importlib.resources import files

from provisioning.config.model import Config

PLACE = "place.tmpl"


def templates(config: Config) -> dict[str, str]:
    """Each template's text by the name of its file."""
    ours = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in files("alert_rules").joinpath("messages").iterdir()
        if entry.name.endswith(".tmpl")
    }
    return {**dict(sorted(ours.items())), PLACE: _place(config)}


def _place(config: Config) -> str:
    """The values stand as strings of Go's, so that no sign in them is read as a template."""
    values = {"cluster_ai.name": config.name, "cluster_ai.grafana": config.grafana_url}
    return "".join(
        f"{{{{ define {json.dumps(name)} }}}}{{{{ {json.dumps(value)} }}}}{{{{ end }}}}\n"
        for name, value in values.items()
    )
