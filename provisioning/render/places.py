"""Where the rendered stack keeps its data and secrets, and which parts of it there are."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioning.render.production_places import ProductionPlaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What a configuration file must know that `cluster-ai.yml` does not say. Paths should be absolute."""

    data: Path
    """Grafana keeps its database, logs and plugins in `data`/grafana."""
    secrets: Path
    """Holds `grafana-admin-password` and `grafana-secret-key`, one line each; only their paths are written."""
    local_host: str = field(default_factory=socket.gethostname)
    """The `host` label of this machine's node_exporter."""
    grafana: bool = True
    """False where no Grafana runs: Prometheus is then not told to scrape one."""
    alertmanager: bool = True
    """False where no Alertmanager runs: alerts are then shown by Prometheus alone."""
    node_exporter: bool = True
    """False where this machine runs no node_exporter."""
    installation: Path | None = None
    """The folder with `cluster-ai.yml`, `secrets`, `rendered` and `data` of a stack in containers; else None."""
    production: ProductionPlaces | None = None
    """Where nginx, PostgreSQL, Redis and what belongs to them are; None on a laptop, where there are none."""

    @property
    def plugins(self) -> Path:
        """Where Grafana looks for plugins; none are needed."""
        return self.data / "grafana/plugins"

    @property
    def grafana_admin_password(self) -> Path:
        """File with the first password of Grafana's `admin`; Grafana reads it at its first start."""
        return self.secrets / "grafana-admin-password"

    @property
    def grafana_secret_key(self) -> Path:
        """File with the key that encrypts secrets in Grafana's database; it must never change."""
        return self.secrets / "grafana-secret-key"

    @property
    def sms_bridge_token(self) -> Path:
        """File with the token that Alertmanager brings to the SMS bridge."""
        return self.secrets / "sms-bridge-token"
