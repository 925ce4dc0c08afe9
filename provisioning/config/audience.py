"""Whom a route reaches and by what means: the one place that knows, for checks, routing and commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from provisioning.config.model import Config
from provisioning.config.notifications import Escalation, Route
from provisioning.config.people import SEVERITIES, Means, Person, Severity

MEANS: tuple[Means, ...] = ("mail", "sms")


@dataclass(frozen=True, slots=True)
class Telling:
    """One person told by one means, of alerts of these severities."""

    person: Person
    means: Means
    severities: tuple[Severity, ...]


def persons(config: Config, names: Iterable[str]) -> list[Person]:
    """The people whom these names of people and teams stand for, each once, in the order of the file.

    Names that are unknown stand for nobody; `cluster-ai check` finds them.
    """
    teams = {team.name: team.members for team in config.teams}
    wanted = {name for given in names for name in teams.get(given, [given])}
    return [person for person in config.people if person.name in wanted]


def can_reach(config: Config, person: Person, means: Means) -> bool:
    """Whether the person has an address of that kind, and we an account."""
    account, address = {
        "mail": (config.notifications.mail, person.email),
        "sms": (config.notifications.sms, person.sms),
    }[means]
    return account is not None and address is not None


def tellings(config: Config, route: Route, step: Escalation | None = None) -> list[Telling]:
    """Everybody whom a route, or a step of its escalation, tells."""
    to, by = (step.to, step.by) if step else (route.to, route.by)
    severities = tuple(name for name in SEVERITIES if not route.severities or name in route.severities)
    found = (
        Telling(person, means, told)
        for person in persons(config, to)
        for means in MEANS
        if can_reach(config, person, means) and (told := _of(person, means, by, severities))
    )
    return list(found)


def _of(person: Person, means: Means, by: Sequence[Means], severities: tuple[Severity, ...]) -> tuple[Severity, ...]:
    """The severities of which a person is told by a means: the route's word, else their own."""
    if by:
        return severities if means in by else ()
    preferred = person.mail_for if means == "mail" else person.sms_for
    return tuple(name for name in severities if name in preferred)


def default_route(config: Config) -> Route | None:
    """The route of alerts that fit no other: every operator and admin; None where there are none."""
    told = [person.name for person in config.people if person.role != "viewer"]
    return Route(name="everybody", to=told) if told else None


def routes(config: Config) -> list[Route]:
    """The routes in the order in which they are asked, the default last."""
    default = default_route(config)
    return [*config.notifications.routes, *([default] if default else [])]


def uses_sms(config: Config) -> bool:
    """Whether somebody is told by SMS, so that the bridge has work."""
    return any(
        telling.means == "sms"
        for route in routes(config)
        for step in (None, *route.escalate)
        for telling in tellings(config, route, step)
    )


def needs_bridge(config: Config) -> bool:
    """Whether the SMS bridge must run: for SMS, or to pass the heartbeat on."""
    return uses_sms(config) or config.notifications.heartbeat is not None
