"""Where the parts of a production stack find each other and their files: in containers, or anywhere else for a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provisioning.config.model import Config, Services
from provisioning.render.places import Places


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionPlaces:
    """Addresses are host:port as they are dialled, folders and files as the program that reads them sees them.

    What is rendered, and every secret, stands at the same absolute path in a container as on the host, so that one
    configuration serves in both; each container is given only what it reads.
    """

    nginx_http: str = "8080"
    """What nginx listens on: a port, or address:port."""
    nginx_https: str = "8443"
    nginx_status: str = "8081"
    """Its numbers, for its exporter."""
    grafanas: tuple[str, ...] = ("grafana-1:3000",)
    postgres: str = "postgres:5432"
    postgres_socket: Path = Path("/var/run/postgresql")
    """The folder of its socket."""
    redis: str = "redis:6379"
    redis_data: Path = Path("/data")
    """Where its image keeps what survives a restart."""
    postgres_exporter: str = "postgres-exporter:9187"
    redis_exporter: str = "redis-exporter:9121"
    nginx_exporter: str = "nginx-exporter:9113"
    nginx_log_exporter: str = "nginx-log-exporter:3903"
    gpu_exporter: str = "gpu-exporter:9835"
    blackbox: str = "blackbox:9115"
    loki: str = "loki:3100"
    loki_data: Path = Path("/loki")
    """Where its image keeps what it is given."""
    alloy: str = "alloy:12345"
    faro: str = "alloy:12347"
    certificates: Path
    """Has `fullchain.pem` and `privkey.pem`."""
    webroot: Path
    """What `/.well-known/acme-challenge/` is answered from."""
    nginx_modules: Path = Path("/usr/lib/nginx/modules")
    nginx_run: Path = Path("/tmp/nginx")  # noqa: S108 -- the container's own, a tmpfs
    """For its process number and temporary files."""
    nginx_logs: Path = Path("/var/log/nginx")
    """Has `audit.json`, sign-ins and changes, and `attempts.json`, what strangers tried, both to be kept; and
    `responses.json`, the status of each answer."""
    nginx_access_log: Path = Path("/dev/stdout")
    """A line for every request; in a container they go the way of what every container says."""

    @property
    def letsencrypt(self) -> Path:
        """What certbot keeps for itself: its account and every certificate it was given."""
        return self.certificates.with_name("letsencrypt")

    @property
    def alloy_socket(self) -> Path:
        """Where Docker hands over what containers say."""
        return self.certificates.with_name("alloy") / "containers.sock"

    @property
    def textfiles(self) -> Path:
        """What node_exporter reads and passes on: of certbot and of backups."""
        return self.certificates.with_name("textfile")


def in_containers(config: Config, folder: Path) -> tuple[Config, Places]:
    """The configuration with every service where its container is, and the places of their files.

    Without `production` it is the stack of those who change it: one Grafana, whose database is a file.

    `folder` is that of the installation: `cluster-ai.yml`, `secrets`, `rendered`, `data` and `backups` lie in it.

    What listens inside a container listens on every address of it, which only the networks it has joined can reach.
    """
    folder = folder.absolute()
    services = Services.model_construct(
        exporter="exporter:9860",
        exporter_shards=[],
        prometheus="prometheus:9090",
        alertmanager="alertmanager:9093",
        node_exporter="node-exporter:9100",
        sms_bridge="sms-bridge:9861",
        ollama_proxy="ollama-proxy:9862",
        ollama_proxy_workers=[],
        grafana="0.0.0.0:3000",  # each of them for itself; nginx knows their names
    )
    production = None
    if config.production is not None:
        production = ProductionPlaces(
            certificates=folder / "data/certificates",
            webroot=folder / "data/webroot",
            grafanas=tuple(f"grafana-{number}:3000" for number in range(1, config.production.grafanas + 1)),
        )
    places = Places(
        data=Path("/var/lib"),  # Grafana's image keeps its own in /var/lib/grafana
        secrets=folder / "secrets",
        installation=folder,
        grafana=production is not None,
        production=production,
    )
    return config.model_copy(update={"services": services}), places
