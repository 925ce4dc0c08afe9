"""Who would be told of an alert: reads the tree as Alertmanager does, and the hours as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from alert_rules.routing.matching import Labels, matches
from alert_rules.routing.names import NOBODY
from alert_rules.routing.times import holds
from alert_rules.routing.tree import Node, Tree
from provisioning.config.audience import Telling
from provisioning.config.durations import parse_duration
from provisioning.config.notifications import Notifications

_INHERITED = ("receiver", "group_by", "group_wait", "group_interval", "repeat_interval")


@dataclass(frozen=True, slots=True)
class Answer:
    """One receiver that an alert reaches."""

    receiver: str
    told: Telling | None
    """Who it is; None for the heartbeat."""
    wait: float
    """Seconds until the first message."""
    repeat: float
    silent: tuple[str, ...]
    """Intervals during which it stays silent."""
    silent_now: tuple[str, ...]
    """Those of them that hold at the moment asked for."""


def asked(tree: Tree, labels: Labels, told: Notifications, now: datetime) -> list[Answer]:
    """The receivers of an alert with these labels, in the order in which Alertmanager finds them."""
    return [
        Answer(
            receiver=node["receiver"],
            told=tree.told.get(node["receiver"]),
            wait=parse_duration(node["group_wait"]),
            repeat=parse_duration(node["repeat_interval"]),
            silent=tuple(node.get("mute_time_intervals", ())),
            silent_now=tuple(name for name in node.get("mute_time_intervals", ()) if holds(name, told, now)),
        )
        for node in _reached(tree.root, labels)
        if node["receiver"] != NOBODY
    ]


def _reached(node: Node, labels: Labels) -> Iterator[Node]:
    """The deepest routes that fit, as Alertmanager picks them: the first, and more after one that says `continue`."""
    found = False
    for child in node.get("routes", ()):
        if not matches(child.get("matchers", ()), labels):
            continue
        found = True
        yield from _reached({**{key: node[key] for key in _INHERITED}, **child}, labels)
        if not child.get("continue"):
            break
    if not found:
        yield node
