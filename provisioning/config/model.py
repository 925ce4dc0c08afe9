"""The typed form of `cluster-ai.yml`: every key, its default and what it means.

Field descriptions become the JSON Schema that editors show, so they are written for operators.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from provisioning.config.addresses import dial_address
from provisioning.config.alerts import Alerts
from provisioning.config.basics import (
    SIZE_PATTERN,
    Duration,
    ListenAddress,
    Name,
    Strict,
)
from provisioning.config.exporter import Exporter
from provisioning.config.grafana import Grafana
from provisioning.config.notifications import Notifications
from provisioning.config.people import Person, Team
from provisioning.config.production import Production
from provisioning.config.targets import Targets


class Services(Strict):
    """Where each part of the stack listens; loopback unless you say otherwise."""

    exporter: ListenAddress = Field("127.0.0.1:9860", description="The exporter of this project.")
    exporter_shards: list[ListenAddress] = Field(
        default_factory=list,
        description="Addresses of N exporters that share the targets, in place of `exporter`; the first runs with "
        "`--shard 1/N`, the next with `--shard 2/N`.",
    )
    prometheus: ListenAddress = Field("127.0.0.1:9090", description="Prometheus, which keeps the metrics.")
    alertmanager: ListenAddress = Field("127.0.0.1:9093", description="Alertmanager, which groups alerts.")
    node_exporter: ListenAddress = Field("127.0.0.1:9100", description="node_exporter of this machine.")
    sms_bridge: ListenAddress = Field(
        "127.0.0.1:9861", description="Sends SMS and passes the heartbeat on; runs when one of the two is wanted."
    )
    ollama_proxy: ListenAddress = Field(
        "127.0.0.1:9862", description="The metrics of the proxies before Ollama; runs when a target has one."
    )
    ollama_proxy_workers: list[ListenAddress] = Field(
        default_factory=list,
        description="The metrics of more processes of the proxies, one an address, that share their ports and use more "
        "cores.",
    )
    grafana: ListenAddress = Field("127.0.0.1:3001", description="Grafana; 3001 leaves 3000 to Open WebUI.")


class Retention(Strict):
    """How long Prometheus keeps metrics and alert history."""

    time: Duration = Field(90 * 86400.0, ge=3600, description="Such as 90d.")
    size: Annotated[str, StringConstraints(pattern=SIZE_PATTERN)] = Field(
        "20GB", description="Disk that metrics may take, such as 20GB; the oldest go first."
    )


class Config(Strict):
    """A whole `cluster-ai.yml`."""

    name: Name = Field("cluster", description="Shown on pages and in messages.")
    targets: Targets = Field(description="Where your systems are.")
    people: list[Person] = Field(default_factory=list, description="Who may see the pages and whom to tell.")
    teams: list[Team] = Field(default_factory=list, description="People who are told together.")
    alerts: Alerts = Field(default_factory=Alerts, description="Changes to the alert rules.")
    notifications: Notifications = Field(
        default_factory=Notifications, description="Whom an alert reaches, how and when."
    )
    services: Services = Field(default_factory=Services, description="Where each part of the stack listens.")
    exporter: Exporter = Field(
        default_factory=Exporter, description="TLS and password of the exporter, for when it leaves loopback."
    )
    grafana: Grafana = Field(default_factory=Grafana, description="The pages' own address.")
    retention: Retention = Field(default_factory=Retention, description="How long metrics are kept.")
    production: Production | None = Field(
        None, description="The stack in containers behind nginx; what `cluster-ai deploy` reads."
    )

    @property
    def grafana_url(self) -> str:
        """Where people reach Grafana, without a slash at the end."""
        if self.production is not None and self.grafana.url is None:
            port = self.production.https.rpartition(":")[2]
            return f"https://{self.production.domain}{'' if port == '443' else f':{port}'}"
        return (self.grafana.url or f"http://{dial_address(self.services.grafana)}").rstrip("/")
