"""What is wrong between people, teams, hours, routes and accounts: names that nobody has, messages without a way."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from provisioning.config.audience import MEANS, can_reach, default_route, persons, routes, tellings
from provisioning.config.messages import did_you_mean, key_text
from provisioning.config.model import Config
from provisioning.config.notifications import Escalation, Route
from provisioning.config.problems import Problem, brief
from provisioning.config.targets import SYSTEMS
from provisioning.config.yaml_file import Document, Key

_Finding = tuple[Key, str, str]
_ACCOUNTS = {"mail": "notifications.mail", "sms": "notifications.sms"}
_ADDRESSES = {"mail": "email", "sms": "number (sms)"}


def audience_errors(config: Config, document: Document) -> list[Problem]:
    """Names that stand for nobody or for two, and routes that could tell nobody."""
    names = [*_names_twice(config), *_unknown(config)]
    # Who is reached means nothing while names are wrong.
    return _problems(names or [*_routes(config), *_never_asked(config)], document)


def audience_warnings(config: Config, document: Document) -> list[Problem]:
    """People who look as if they were told and are not."""
    return _problems([*_untold(config), *_line_break(config)], document)


def _problems(findings: Iterator[_Finding] | list[_Finding], document: Document) -> list[Problem]:
    return [
        Problem(document.line_of(key), message, hint, key_text(key, document.data)) for key, message, hint in findings
    ]


def _names_twice(config: Config) -> Iterator[_Finding]:
    people = {person.name.lower() for person in config.people}
    seen: set[str] = set()
    for index, team in enumerate(config.teams):
        if team.name.lower() in people:
            yield ("teams", index, "name"), f"{brief(team.name)} is also a person", "give the team a name of its own"
        elif team.name.lower() in seen:
            yield ("teams", index, "name"), f"{brief(team.name)} is listed twice", "put all its members in one entry"
        seen.add(team.name.lower())
    given = {
        "hours": [hours.name for hours in config.notifications.hours],
        "mutes": [mute.name for mute in config.notifications.mutes],
    }
    for kind, names in given.items():
        for index, name in enumerate(names):
            if name in names[:index]:
                yield ("notifications", kind, index, "name"), f"{brief(name)} is used twice", "rename one of them"


def _unknown(config: Config) -> Iterator[_Finding]:
    people = [person.name for person in config.people]
    known = {
        "person": people,
        "person or team": [*people, *(team.name for team in config.teams)],
        "hours": [hours.name for hours in config.notifications.hours],
        "target": [target.name for system in SYSTEMS for target in getattr(config.targets, system)],
    }
    for key, name, kind in _used(config):
        if name not in known[kind]:
            there = f"there is no {kind} {brief(name)}" if kind != "hours" else f"there are no hours {brief(name)}"
            nothing = "the file names none" if kind != "hours" else "add them to notifications.hours"
            yield key, there, did_you_mean(name, known[kind]) if known[kind] else nothing


def _used(config: Config) -> Iterator[tuple[Key, str, str]]:
    """Every name that stands for something elsewhere in the file: where, the name, of what kind."""
    for index, person in enumerate(config.people):
        yield from _hours(("people", index, "hours"), person.hours)
    for index, team in enumerate(config.teams):
        yield from _all(("teams", index), "members", team.members, "person")
    for at, route in _routes_of(config):
        yield from _all(at, "targets", route.targets, "target")
        yield from _all(at, "to", route.to, "person or team")
        yield from _hours((*at, "during"), route.during)
        yield from _hours((*at, "outside"), route.outside)
        for place, step in enumerate(route.escalate):
            yield from _all((*at, "escalate", place), "to", step.to, "person or team")
    for index, mute in enumerate(config.notifications.mutes):
        yield from _all(("notifications", "mutes", index), "targets", mute.targets, "target")
        yield from _hours(("notifications", "mutes", index, "hours"), mute.hours)


def _hours(key: Key, name: str | None) -> Iterator[tuple[Key, str, str]]:
    if name:
        yield key, name, "hours"


def _all(at: Key, key: str, names: list[str], kind: str) -> Iterator[tuple[Key, str, str]]:
    return (((*at, key, place), name, kind) for place, name in enumerate(names))


def _routes_of(config: Config) -> Iterator[tuple[Key, Route]]:
    return ((("notifications", "routes", index), route) for index, route in enumerate(config.notifications.routes))


def _routes(config: Config) -> Iterator[_Finding]:
    for at, route in _routes_of(config):
        yield from _telling(config, at, route, None)
        for place, step in enumerate(route.escalate):
            yield from _telling(config, (*at, "escalate", place), route, step)


def _telling(config: Config, at: Key, route: Route, step: Escalation | None) -> Iterator[_Finding]:
    """What keeps a route from telling those whom it names."""
    to, by = (step.to, step.by) if step else (route.to, route.by)
    without = [means for means in by if getattr(config.notifications, means) is None]
    if without:
        yield (*at, "by"), f"there is no account for {without[0]}", f"add {_ACCOUNTS[without[0]]}"
        return
    told = persons(config, to)
    cut_off = [(person, means) for person in told for means in by if not can_reach(config, person, means)]
    for person, means in cut_off:
        lack = _ADDRESSES[means]
        yield (*at, "to"), f"{person.name} is to be told by {means} and has no {lack}", f"give {person.name} one"
    unreached = [person for person in told if not any(can_reach(config, person, means) for means in MEANS)]
    for person in [] if by else unreached:
        hint = _way(config, person.email is not None, person.sms is not None)
        yield (*at, "to"), f"{person.name} cannot be told of anything", hint
    if not cut_off and not unreached and not tellings(config, route, step):
        hint = "each is told of what mail_for and sms_for say; with `by: [mail]` the route decides"
        yield (*at, "to"), "this reaches nobody", hint


def _way(config: Config, email: bool, number: bool) -> str:  # noqa: FBT001 -- two facts about one person
    if email and config.notifications.mail is None:
        return "add notifications.mail"
    if number and config.notifications.sms is None:
        return "add notifications.sms"
    return "give them an email or a number (sms)"


def _never_asked(config: Config) -> Iterator[_Finding]:
    """Routes behind one that fits every alert at all times."""
    for place, (_, route) in enumerate(_routes_of(config)):
        narrow = (route.severities, route.systems, route.targets, route.hosts, route.alerts)
        if any(narrow) or route.during or route.outside:
            continue
        for at, _ in list(_routes_of(config))[place + 1 :]:
            yield at, "no alert comes this far", f"route {place + 1} fits them all; put it last"
        return


def _untold(config: Config) -> Iterator[_Finding]:
    """Accounts that tell nobody, and people whom no account tells."""
    default = default_route(config)
    told = config.notifications
    if (told.mail or told.sms) and not any(tellings(config, route) for route in routes(config)):
        hint = "give somebody an email and the role operator or admin, or add routes"
        yield ("notifications",), "nobody is told of any alert", hint
    for means, key in (("mail", "email"), ("sms", "sms")):
        somebody = any(getattr(person, key) for person in config.people)
        if default and somebody and getattr(told, means) is None:
            yield ("people",), f"nobody is told by {means}", f"add {_ACCOUNTS[means]}"


def _line_break(config: Config) -> Iterator[_Finding]:
    """Alertmanager before 0.27 takes a password file as it is, with the line break that editors and echo leave."""
    mail = config.notifications.mail
    if mail is None or mail.password_file is None:
        return
    try:
        ends = mail.password_file.read_bytes()[-1:]
    except OSError:  # told elsewhere
        return
    if ends.isspace():
        file = shlex.quote(str(mail.password_file))
        message = "the file ends with a line break, which Debian's Alertmanager sends as part of the password"
        yield ("notifications", "mail", "password_file"), message, f'run: printf %s "$(cat {file})" > {file}'
