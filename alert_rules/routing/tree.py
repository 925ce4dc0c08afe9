"""Routes of `cluster-ai.yml` as Alertmanager's tree.

There the first route that fits an alert *now* decides; Alertmanager knows no time when it chooses a route, only whether
a route is silent. So a route with hours holds everything that would be asked without it once more, silent during these
hours, and each person's entry is a leaf with `continue`, silent outside of them. Branches that no alert or no moment
could reach are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alert_rules.routing.matching import Condition, differs, equals, one_of
from alert_rules.routing.names import HEARTBEAT, NOBODY, TEST, TEST_TO, WATCHDOG, receiver
from alert_rules.routing.times import during, intervals, outside, window
from provisioning.config.audience import Telling, routes, tellings
from provisioning.config.durations import format_duration
from provisioning.config.model import Config
from provisioning.config.notifications import Escalation, Mute, Route
from provisioning.config.people import SEVERITIES

Node = dict[str, Any]
# One incident is one group: what ails a target, whichever of its workers it shows on; and what ails a machine.
_OF_TARGETS = ["cluster", "system", "target", TEST]
_OF_HOSTS = ["cluster", "system", "host", TEST]
_HOSTS = Condition({"system": frozenset({"host"})})
_BEATS = 4
"""Alertmanager looks this often for one heartbeat: a repetition is due only after the whole pause."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The route at the root, and whom each receiver in it tells."""

    root: Node
    told: Mapping[str, Telling]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is certain at a place in the tree: of the alert and of the hours; and when messages are silent there."""

    alert: Condition
    hours: Mapping[str, bool] = field(default_factory=dict)
    silent: tuple[str, ...] = ()

    def fitting(self, condition: Condition) -> _Known:
        """The same for alerts that fit a condition, too."""
        return _Known(condition.and_(self.alert), self.hours, self.silent)

    def while_(self, hours: str, *, within: bool) -> _Known:
        """The same as long as these hours last, or do not: silent for the rest of the time."""
        if hours in self.hours:
            return self
        return self.but(outside(hours) if within else during(hours), {**self.hours, hours: within})

    def but(self, interval: str, hours: Mapping[str, bool] | None = None) -> _Known:
        """The same, silent in one more interval."""
        return _Known(self.alert, self.hours if hours is None else hours, (*self.silent, interval))


def tree(config: Config) -> Tree:
    """Whom Alertmanager tells of what."""
    timing = config.notifications.timing
    maker = _Maker(config)
    rules: list[Mute | Route] = [*config.notifications.mutes, *routes(config)]
    hosts = list(maker.branch(rules, _Known(_HOSTS)))
    root: Node = {
        "receiver": NOBODY,
        "group_by": _OF_TARGETS,
        "group_wait": format_duration(timing.wait),
        "group_interval": format_duration(timing.update),
        "repeat_interval": format_duration(timing.repeat_mail),
        "routes": [
            _watchdog(config),
            *maker.tests(),
            {"matchers": _HOSTS.matchers(), "group_by": _OF_HOSTS, **_below(hosts)},
            *maker.branch(rules, _Known(Condition({}))),
        ],
    }
    return Tree(root, maker.told)


def _below(nodes: Iterable[Node]) -> Node:
    found = list(nodes)
    return {"routes": found} if found else {}


def _watchdog(config: Config) -> Node:
    """The alert that is always there goes to the heartbeat, or to nobody."""
    heartbeat = config.notifications.heartbeat
    if heartbeat is None:
        return {"matchers": [equals("alertname", WATCHDOG)], "receiver": NOBODY}
    look = heartbeat.every / _BEATS
    return {
        "matchers": [equals("alertname", WATCHDOG)],
        "receiver": HEARTBEAT,
        "group_wait": "0s",
        "group_interval": format_duration(look),
        "repeat_interval": format_duration(heartbeat.every - look / 2),
    }


class _Maker:
    """Makes the branches of one installation's tree."""

    def __init__(self, config: Config) -> None:
        self.told: dict[str, Telling] = {}
        self._config = config
        self._intervals = {interval["name"] for interval in intervals(config.notifications)}

    def tests(self) -> Iterator[Node]:
        """Tests for one person, whom they reach by every means there is."""
        for person in self._config.people:
            anything = Route(to=[person.name], by=["mail", "sms"])
            leaves = [self._leaf(telling, SEVERITIES, _Known(Condition({}))) for telling in self._tellings(anything)]
            if leaves:
                yield {"matchers": [differs(TEST), equals(TEST_TO, person.name)], "routes": leaves}

    def branch(self, rules: Sequence[Mute | Route], known: _Known) -> Iterator[Node]:
        """The routes that are asked in turn where this much is known."""
        for place, rule in enumerate(rules):
            condition = Condition.of(rule)
            if condition.contradicts(known.alert) or not _may_apply(rule, known):
                continue
            here, rest = known.fitting(condition), rules[place + 1 :]
            nodes = self._mute(rule, here, rest) if isinstance(rule, Mute) else self._route(rule, here, rest)
            if condition.follows_from(known.alert):  # no alert gets past this one
                yield from nodes
                return
            yield {"matchers": condition.matchers(), **_below(nodes)}

    def _mute(self, mute: Mute, known: _Known, rest: Sequence[Mute | Route]) -> Iterator[Node]:
        """Nobody, and when it is over those who come after."""
        if mute.hours is None:
            yield from self.branch(rest, known.but(window(mute.name)))
        elif mute.hours not in known.hours:
            yield from self.branch(rest, known.while_(mute.hours, within=False))

    def _route(self, route: Route, known: _Known, rest: Sequence[Mute | Route]) -> Iterator[Node]:
        """Those whom the route names, and when it does not apply those who come after."""
        hours = route.during or route.outside
        within = route.during is not None
        yield from self._leaves(route, known.while_(hours, within=within) if hours else known)
        if hours and hours not in known.hours:
            yield from self.branch(rest, known.while_(hours, within=not within))

    def _leaves(self, route: Route, known: _Known) -> Iterator[Node]:
        for step in (None, *route.escalate):
            for telling in self._tellings(route, step):
                yield from self._person(telling, known, step)

    def _person(self, telling: Telling, known: _Known, step: Escalation | None) -> Iterator[Node]:
        """One leaf, or two for somebody with hours: critical alerts at all times, others within them."""
        hours = telling.person.hours
        if hours is None or known.hours.get(hours):
            yield self._leaf(telling, telling.severities, known, step)
            return
        always = tuple(name for name in telling.severities if name == "critical")
        later = tuple(name for name in telling.severities if name != "critical")
        if always:
            yield self._leaf(telling, always, known, step)
        if later and hours not in known.hours:
            yield self._leaf(telling, later, known.while_(hours, within=True), step)

    def _leaf(self, telling: Telling, severities: Sequence[str], known: _Known, step: Escalation | None = None) -> Node:
        name = receiver(telling, step)
        self.told[name] = telling
        silent = [interval for interval in known.silent if interval in self._intervals]
        some = not set(severities) >= known.alert.values.get("severity", set(SEVERITIES))
        again = self._config.notifications.timing.repeat_sms
        incident = _OF_HOSTS if known.alert.values.get("system") == _HOSTS.values["system"] else _OF_TARGETS
        # An alert of its own: it would else be told as soon as another of that target, mended since, has waited. Even
        # the same one that comes back also waits, as well as Alertmanager can.
        waits = {key: format_duration(step.after) for key in ("group_wait", "group_interval")} if step else {}
        return {
            "receiver": name,
            **({"matchers": [one_of("severity", severities)]} if some else {}),
            "continue": True,
            **({"repeat_interval": format_duration(again)} if telling.means == "sms" else {}),
            **({"group_by": ["alertname", *incident], **waits} if step else {}),
            **({"mute_time_intervals": silent} if silent else {}),
        }

    def _tellings(self, route: Route, step: Escalation | None = None) -> list[Telling]:
        return tellings(self._config, route, step)


def _may_apply(rule: Mute | Route, known: _Known) -> bool:
    """Whether there are moments at which the rule counts, as far as the hours are known."""
    if isinstance(rule, Mute):
        return rule.hours is None or known.hours.get(rule.hours, True)
    hours = rule.during or rule.outside
    return hours is None or known.hours.get(hours, rule.during is not None) == (rule.during is not None)
