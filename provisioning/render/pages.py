"""The pages, coloured by this installation's thresholds and in its language."""

from __future__ import annotations

from alert_rules.thresholds import in_force
from dashboards.build import documents
from provisioning.config.model import Config
from provisioning.render.files import json_text


def texts(config: Config, source: str) -> dict[str, str]:
    """Each page's file by its name."""
    logs = config.production is not None and config.production.logs
    made = documents(in_force(config.alerts.thresholds), config.grafana.language, logs=logs)
    return {f"{name}.json": json_text(page, source) for name, page in made.items()}
