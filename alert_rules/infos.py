"""Series that say what the configuration says, for pages to list and to join: alerts, people, ways to them, prices.

They hold no address and no secret. Once a minute is enough: Prometheus shows a series for five.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alert_rules import links
from alert_rules.runbooks import panel_id
from alert_rules.writing import Alert
from provisioning.config.model import Config
from provisioning.config.notifications import Notifications

_ABOUT = ("target", "host", "worker")
Rule = dict[str, Any]


def groups(config: Config, alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    """The rule groups."""
    settings = [*_people(config), *_ways(config.notifications), *_prices(config), *_retention(config)]
    return [
        {"name": name, "interval": "1m", "rules": rules}
        for name, rules in (("alerts", [_alert(alert) for alert in alerts]), ("settings", settings))
    ]


def _alert(alert: Alert) -> Rule:
    """`page`: uid of the page that shows the cause, `target_as` and its like: which of its variables takes that label.

    `runbook` is the panel on the page of runbooks.
    """
    taken = {label: variable for variable, label in links.PAGES[alert.page].items() if label in alert.labels}
    return _info(
        "alert",
        alertname=alert.name,
        severity=alert.severity,
        system=alert.system,
        page=alert.page,
        runbook=f"panel-{panel_id(alert.name)}",
        # A link needs a name in any case; this one is nobody's.
        **{f"{label}_as": taken.get(label, "none") for label in _ABOUT},
    )


def _people(config: Config) -> list[Rule]:
    """Who is told by which way of what, where no route says otherwise. A viewer is told what a route sends them.

    A way that no account leads to reaches nobody.
    """
    mail, sms, routes = config.notifications.mail, config.notifications.sms, config.notifications.routes
    named = {name for route in routes for name in route.to}
    named |= {name for route in routes for step in route.escalate for name in step.to}
    made = []
    for person in config.people:
        teams = [team.name for team in config.teams if person.name in team.members]
        told = person.role != "viewer" or not named.isdisjoint((person.name, *teams))
        made.append(
            _info(
                "person",
                person=person.name,
                role=person.role,
                by_mail=", ".join(person.mail_for) if told and mail and person.email else "",
                by_sms=", ".join(person.sms_for) if told and sms and person.sms else "",
                teams=", ".join(teams),
            )
        )
    return made


def _ways(notifications: Notifications) -> list[Rule]:
    """The ways that messages leave by, and through whom."""
    through: dict[str, str] = {}
    if notifications.mail:
        through["mail"] = notifications.mail.smarthost
    if notifications.sms:
        through["sms"] = "Twilio" if notifications.sms.twilio else "apprise"
    if notifications.heartbeat:
        through["heartbeat"] = "a service elsewhere"
    return [_info("way", way=way, through=name) for way, name in through.items()]


def _prices(config: Config) -> list[Rule]:
    return [
        {
            "record": "cluster_ai:worker_price:per_hour",
            "expr": f"vector({target.worker_price_per_hour!r})",
            "labels": {"target": target.name},
        }
        for target in config.targets.dask
        if target.worker_price_per_hour
    ]


def _retention(config: Config) -> list[Rule]:
    """Prometheus tells its limit in bytes alone."""
    return [{"record": "cluster_ai:retention:seconds", "expr": f"vector({config.retention.time!r})"}]


def _info(what: str, **labels: str) -> Rule:
    """Always 1; what it says is in its labels."""
    return {
        "record": f"cluster_ai:{what}:info",
        "expr": "vector(1)",
        "labels": {name: value for name, value in labels.items() if value},
    }
