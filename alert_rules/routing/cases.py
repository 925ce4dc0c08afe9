"""The questions behind `alerts routes`: which alerts there are, and answers that are the same put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alert_rules.routing.asked import Answer, asked
from alert_rules.routing.names import WATCHDOG
from alert_rules.routing.tree import tree
from alert_rules.writing import Alert
from provisioning.config.model import Config
from provisioning.config.notifications import Which
from provisioning.config.targets import SYSTEMS

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that reach the same people in the same way at a moment."""

    alerts: tuple[Labels, ...]
    answers: tuple[Answer, ...]


def cases(config: Config, alerts: Iterable[Alert], given: Labels) -> Iterator[Labels]:
    """The labels to ask for: those given, and each target or host that routes or mutes tell from others."""
    which: list[Which] = [*config.notifications.routes, *config.notifications.mutes]
    hosts = sorted({host for rule in which for host in rule.hosts})
    by_target = any(rule.targets for rule in which)
    for alert in alerts:
        if alert.name == WATCHDOG:
            continue
        labels = {"alertname": alert.name, "severity": alert.severity, "system": alert.system, **given}
        for target in _targets(config, alert) if by_target and "target" not in given else ("",):
            for host in ("", *hosts) if "host" in alert.labels and "host" not in given else ("",):
                more = {"target": target, "host": host}
                yield labels | {name: value for name, value in more.items() if value}


def _targets(config: Config, alert: Alert) -> Sequence[str]:
    if "target" not in alert.labels or alert.system not in SYSTEMS:
        return ("",)
    return [target.name for target in getattr(config.targets, alert.system)] or [""]


def groups(config: Config, wanted: Iterable[Labels], now: datetime) -> list[Group]:
    """Who is told of each, those that are told alike together, in the order in which they come first."""
    made = tree(config)
    found: dict[tuple[object, ...], tuple[list[Labels], tuple[Answer, ...]]] = {}
    for labels in wanted:
        answers = tuple(asked(made, labels, config.notifications, now))
        alike = tuple((answer.receiver, answer.silent_now) for answer in answers)
        found.setdefault(alike, ([], answers))[0].append(labels)
    return [Group(tuple(alerts), answers) for alerts, answers in found.values()]
