"""Which secrets a production installation has, what each is for, and who must hear of a new one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from provisioning.grafana.passwords import new_password, weakness

ADMIN_PASSWORD = "grafana-admin-password"  # noqa: S105 -- names of files, here and below
SECRET_KEY = "grafana-secret-key"  # noqa: S105
BRIDGE_TOKEN = "sms-bridge-token"  # noqa: S105
IDENTITY = "backup-identity"
RECIPIENTS = "backup-recipients"
OPERATOR_KEY = "backup-operator-key"
"""Only until somebody has taken it away."""
ACL = "redis-users.acl"
GRAFANA_REDIS = "grafana-redis-connection"
BRIDGE_REDIS = "redis-bridge-url"
EXPORTER_REDIS = "redis-exporter-passwords"
NEXT = ".next"
"""Ends the name of a secret that is on its way in; what is left of an interrupted `rotate`."""
PREVIOUS = ".previous"
"""Ends the name of one that Redis still takes, until those who use it were started again."""

SHORTEST = 24
_DISTINCT = 10
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One random value in a file of its name."""

    name: str
    purpose: str
    role: str | None = None
    """Whose password in PostgreSQL it is."""
    user: str | None = None
    """Whose password in Redis it is."""
    restart: tuple[str, ...] = ()
    """Services that read it only when they start, in the order in which to start them again."""

    def new(self) -> str:
        """Another value; each of the same length, so that a file can be overwritten at one go."""
        return new_password() if self.name == ADMIN_PASSWORD else secrets.token_urlsafe(48)

    def weakness(self, value: str) -> str | None:
        """Why this value must not be used, in a few words; None when it is good."""
        return weakness(value, "admin") if self.name == ADMIN_PASSWORD else _weakness(value)


SECRETS = (
    Secret(name=ADMIN_PASSWORD, purpose="first password of Grafana's admin"),
    Secret(name=SECRET_KEY, purpose="encrypts what Grafana keeps secret in its database"),
    Secret(name=BRIDGE_TOKEN, purpose="Alertmanager shows it to the SMS bridge"),
    Secret(name="postgres-password", purpose="PostgreSQL's superuser", role="postgres"),
    Secret(name="grafana-database-password", purpose="Grafana in PostgreSQL", role="grafana", restart=("grafana",)),
    Secret(
        name="postgres-exporter-password",
        purpose="PostgreSQL's exporter in it",
        role="monitoring",
        restart=("postgres-exporter",),
    ),
    Secret(name="backup-database-password", purpose="backups in PostgreSQL, to read", role="backup"),
    Secret(name="redis-grafana-password", purpose="Grafana in Redis", user="grafana", restart=("grafana",)),
    Secret(
        name="redis-exporter-password",
        purpose="Redis's exporter in it",
        user="monitoring",
        restart=("redis-exporter",),
    ),
    Secret(name="redis-bridge-password", purpose="the SMS bridge in Redis", user="bridge", restart=("sms-bridge",)),
    Secret(name="redis-admin-password", purpose="`secrets rotate` in Redis, to reload its users", user="admin"),
)
BY_NAME = {secret.name: secret for secret in SECRETS}
KEYS = {
    IDENTITY: "opens backups on this host, for the weekly test",
    RECIPIENTS: "whose keys open the backups that are made now",
}
DERIVED = {
    ACL: "who may do what in Redis",
    GRAFANA_REDIS: "where Grafana finds Redis",
    BRIDGE_REDIS: "where the SMS bridge finds Redis",
    EXPORTER_REDIS: "as Redis's exporter reads its password",
}


def _weakness(value: str) -> str | None:
    if len(value) < SHORTEST:
        return f"it has fewer than {SHORTEST} characters"
    if len(set(value)) < _DISTINCT:
        return f"it has fewer than {_DISTINCT} different characters"
    if not _SAFE.issuperset(value):
        return "it has signs that not every program takes as they are; use letters, digits, - _ . ~"
    return None
