"""What Grafana should hold, read off `cluster-ai.yml`: no calls, no files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provisioning.config.grafana import GRAFANA_LANGUAGES
from provisioning.config.model import Config

PAGES_FOLDER = "cluster-ai"
GATE_FOLDER = "gate-operator"
GRAFANA_ROLES = {"none": "None", "viewer": "Viewer", "operator": "Editor", "admin": "Admin"}
VIEW, EDIT = 1, 2
"""Grafana's numbers for what somebody may do in a folder."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a user in Grafana."""

    login: str
    email: str | None
    role: str
    """In Grafana's words: Admin, Editor or Viewer."""
    password_file: Path | None


@dataclass(frozen=True, slots=True)
class Team:
    """People who share rights in folders."""

    name: str
    members: frozenset[str]
    """Logins."""


@dataclass(frozen=True, slots=True)
class Account:
    """A program with a token."""

    name: str
    role: str
    token_file: Path
    lifetime: float | None
    """Seconds; None for a token that does not end."""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """Who may do what in a folder."""

    kind: Literal["role", "team", "account", "user"]
    who: str
    permission: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and all who may see it; admins may without a grant."""

    uid: str
    title: str
    grants: frozenset[Grant]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that `apply` looks after."""

    people: tuple[Person, ...]
    passwords: bool
    """Whether people get a user with a password; else they come through the sign-in of another system."""
    teams: tuple[Team, ...]
    folders: tuple[Folder, ...]
    accounts: tuple[Account, ...]
    preferences: dict[str, str]
    """The organization's, by Grafana's names."""


def wanted(config: Config) -> Wanted:
    """What this configuration asks of Grafana."""
    grafana = config.grafana
    return Wanted(
        people=tuple(
            Person(person.name.lower(), person.email, GRAFANA_ROLES[person.role], person.password_file)
            for person in config.people
        ),
        passwords=grafana.passwords,
        teams=tuple(Team(team.name, frozenset(member.lower() for member in team.members)) for team in config.teams),
        folders=tuple(_folders(config)),
        accounts=tuple(
            Account(account.name, GRAFANA_ROLES[account.role], account.write_token_to, account.expires)
            for account in grafana.service_accounts
        ),
        preferences={
            "theme": grafana.theme,
            "language": GRAFANA_LANGUAGES[grafana.language],
            "timezone": grafana.timezone,
            "homeDashboardUID": grafana.home,
        },
    )


def _folders(config: Config) -> Iterator[Folder]:
    """The pages' folder, the gate, and those of the file.

    The pages are files, so nobody edits their folder. A proxy asks whether somebody may see the gate, which is empty,
    to know an operator from a viewer.
    """
    yield Folder(
        PAGES_FOLDER,
        "Cluster AI",
        frozenset({Grant("role", "Viewer", VIEW), Grant("role", "Editor", VIEW), *_of_accounts(config, PAGES_FOLDER)}),
    )
    yield Folder(GATE_FOLDER, "Operators' gate", frozenset({Grant("role", "Editor", VIEW)}))
    for folder in config.grafana.folders:
        grants = {*_grants(folder.view, VIEW), *_grants(folder.edit, EDIT), *_of_accounts(config, folder.name)}
        yield Folder(folder.name, folder.title or folder.name, _highest(grants))


def _grants(names: Iterable[str], permission: int) -> Iterator[Grant]:
    for name in names:
        if name in ("viewer", "operator"):
            yield Grant("role", GRAFANA_ROLES[name], permission)
        else:
            yield Grant("team", name, permission)


def _of_accounts(config: Config, folder: str) -> Iterator[Grant]:
    for account in config.grafana.service_accounts:
        if folder in account.edit:
            yield Grant("account", account.name, EDIT)
        elif folder in account.view:
            yield Grant("account", account.name, VIEW)


def _highest(grants: Iterable[Grant]) -> frozenset[Grant]:
    """One grant for each: who may edit may also see."""
    best = {(grant.kind, grant.who): grant for grant in sorted(grants, key=lambda grant: grant.permission)}
    return frozenset(best.values())
