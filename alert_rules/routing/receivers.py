"""How each receiver is told: mail by Alertmanager itself, SMS and heartbeat through the bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from alert_rules.routing.names import HEARTBEAT, NOBODY
from alert_rules.routing.tree import Tree
from provisioning.config.audience import Telling
from provisioning.config.model import Config
from provisioning.config.notifications import Mail


def receivers(config: Config, tree: Tree, *, bridge: str, token: Path) -> list[dict[str, Any]]:
    """Every receiver of the tree. `bridge` is the bridge's address, `token` the file with its bearer token."""
    found: list[dict[str, Any]] = [{"name": NOBODY}]
    if config.notifications.heartbeat:
        webhook = _webhook(f"{bridge}/v1/heartbeat", token) | {"send_resolved": False}
        found.append({"name": HEARTBEAT, "webhook_configs": [webhook]})
    for name, telling in sorted(tree.told.items()):
        found.append({"name": name, **_way(config, telling, bridge, token)})
    return found


def account(mail: Mail | None) -> dict[str, Any]:
    """Alertmanager's global settings for mail; the password stays in its file."""
    if mail is None:
        return {}
    login = {"smtp_auth_username": mail.username, "smtp_auth_password_file": str(mail.password_file)}
    return {
        "smtp_smarthost": mail.smarthost,
        "smtp_from": mail.sender,
        "smtp_hello": mail.hello,
        "smtp_require_tls": mail.tls,
        **(login if mail.username else {}),
    }


def _way(config: Config, telling: Telling, bridge: str, token: Path) -> dict[str, Any]:
    if telling.means == "sms":
        return {"webhook_configs": [_webhook(f"{bridge}/v1/alerts/{quote(telling.person.name)}", token)]}
    mail = config.notifications.mail
    authority = {"tls_config": {"ca_file": str(mail.ca_file)}} if mail and mail.ca_file else {}
    email = {
        "to": telling.person.email,
        "send_resolved": True,
        "headers": {"Subject": '{{ template "cluster_ai.mail.subject" . }}'},
        "html": '{{ template "cluster_ai.mail.html" . }}',
        "text": '{{ template "cluster_ai.mail.text" . }}',
        **authority,
    }
    return {"email_configs": [email]}


def _webhook(url: str, token: Path) -> dict[str, Any]:
    return {
        "url": url,
        "send_resolved": True,
        "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(token)}},
    }
