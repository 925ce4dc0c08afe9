"""Grafana's own settings and its data sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dashboards.build import HOME
from provisioning.config.addresses import ANY_ADDRESS, dial_address
from provisioning.config.grafana import GRAFANA_LANGUAGES
from provisioning.config.model import Config, Services
from provisioning.render import logs
from provisioning.render.files import header
from provisioning.render.ini_path import ini_path
from provisioning.render.places import Places
from provisioning.render.postgres import DATABASE, GRAFANA_CONNECTIONS
from provisioning.render.sign_in import sections
from provisioning.render.templating import templates

PROMETHEUS_UID = "cluster-ai-prometheus"
ALERTMANAGER_UID = "cluster-ai-alertmanager"
FOLDER_UID = "cluster-ai"
PAGES = "pages"
"""The folder of our pages, beside grafana.ini."""


def ini(config: Config, places: Places, folder: Path, source: str) -> str:
    """grafana.ini for a Grafana that listens on `config.services.grafana`, reached there or at `config.grafana.url`.

    `folder` is where its pages and its `provisioning` lie.

    Raises RenderError when a path holds a character that an ini file would not give back as it is.
    """
    host, _, port = config.services.grafana.rpartition(":")
    named = places.local_host if host in ANY_ADDRESS else host
    grafana = config.grafana
    url = config.grafana_url if config.production else grafana.url or f"http://{named}:{port}"
    values: Mapping[str, object] = {
        "header": header(source, ";"),
        "host": host.strip("[]"),
        "port": port,
        "root_url": f"{url}/",
        "encrypted": url.startswith("https://"),
        "data": ini_path(places.data / "grafana"),
        "provisioning": ini_path(folder / "provisioning"),
        "home_page": ini_path(folder / PAGES / f"{HOME}.json"),
        "admin_password": ini_path(places.grafana_admin_password),
        "secret_key": ini_path(places.grafana_secret_key),
        "language": GRAFANA_LANGUAGES[grafana.language],
        "theme": grafana.theme,
        "timezone": grafana.timezone,
        "passwords": grafana.passwords,
        "sign_in": sections(grafana),
        "production": _production(config, places, url),
    }
    return templates().get_template("grafana.ini.j2").render(values)


def datasources(config: Config, places: Places) -> dict[str, Any]:
    """Grafana's data source provisioning as data; data sources that are no longer in it go away.

    Grafana expands `$NAME` in these values; a checked address holds no `$`.
    """
    sources = [_prometheus(config.services, places)]
    if places.alertmanager:
        sources.append(_alertmanager(config.services))
    sources += logs.datasources(config, places)
    return {"apiVersion": 1, "prune": True, "datasources": sources}


def dashboards(folder: Path) -> dict[str, Any]:
    """Grafana's dashboard provisioning as data: our pages in a folder of their own, which nobody edits there.

    A change of theirs would be lost at the next start; who wants one saves a copy elsewhere. Raises RenderError as
    `ini` does.
    """
    provider = {
        "name": "Cluster AI",
        "type": "file",
        "folder": "Cluster AI",
        "folderUid": FOLDER_UID,
        "allowUiUpdates": False,
        "disableDeletion": True,
        "updateIntervalSeconds": 10,
        "options": {"path": ini_path(folder / PAGES)},
    }
    return {"apiVersion": 1, "providers": [provider]}


def _production(config: Config, places: Places, url: str) -> Mapping[str, object] | None:
    """What a Grafana behind nginx has besides; None on a laptop."""
    if config.production is None or places.production is None:
        return None
    cdn = config.production.cdn_url or ""
    return {
        "domain": urlsplit(url).hostname,
        "friends": " ".join(
            dict.fromkeys(urlsplit(origin).hostname or "" for origin in config.production.cors_origins)
        ),
        "cdn": cdn,
        "cdn_origin": f" {urlsplit(cdn).scheme}://{urlsplit(cdn).netloc}" if cdn else "",
        "postgres": places.production.postgres,
        "database": DATABASE,
        "database_password": ini_path(places.secrets / "grafana-database-password"),
        "connections": GRAFANA_CONNECTIONS,
        "redis": places.production.redis,
        "redis_connection": ini_path(places.secrets / "grafana-redis-connection"),
        "redis_password": ini_path(places.secrets / "redis-grafana-password"),
        "rum": config.production.rum,
        "several": len(places.production.grafanas) > 1,
    }


def _prometheus(services: Services, places: Places) -> dict[str, Any]:
    alerts = {"alertmanagerUid": ALERTMANAGER_UID} if places.alertmanager else {}
    return {
        "name": "Prometheus",
        "uid": PROMETHEUS_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://{dial_address(services.prometheus)}",
        "isDefault": True,
        "editable": False,
        "jsonData": {
            "httpMethod": "POST",
            "timeInterval": "5s",
            "manageAlerts": True,
            "prometheusType": "Prometheus",
            **alerts,
        },
    }


def _alertmanager(services: Services) -> dict[str, Any]:
    return {
        "name": "Alertmanager",
        "uid": ALERTMANAGER_UID,
        "type": "alertmanager",
        "access": "proxy",
        "url": f"http://{dial_address(services.alertmanager)}",
        "editable": False,
        "jsonData": {"implementation": "prometheus", "handleGrafanaManagedAlerts": False},
    }
