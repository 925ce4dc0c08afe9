"""Teams: those of the file with their members, and one more that marks who comes from the file."""

from __future__ import annotations

from functools import partial
from typing import Any

from provisioning.grafana.api import NotDoneError
from provisioning.grafana.steps import MARK, Comparison
from provisioning.grafana.wanted import Team, Wanted


def marked(rows: list[dict[str, Any]], seen: Comparison) -> frozenset[str]:
    """Logins of those whom an earlier `apply` marked; plans the team that does so where there is none."""
    row = next((row for row in rows if row["name"] == MARK and row["email"] == MARK), None)
    if row is None:
        seen.step("+", f"team {MARK}: its members are the users that come from this file", partial(_make, MARK, seen))
        return frozenset()
    seen.teams[MARK] = row["id"]
    return frozenset(member["login"].lower() for member in seen.api.members(row["id"]))


def compare(wanted: Wanted, rows: list[dict[str, Any]], seen: Comparison) -> None:
    """Plans what is to change."""
    by_name = {row["name"]: row for row in rows}
    for team in wanted.teams:
        row = by_name.get(team.name)
        if row is None:
            _missing(team, seen)
        elif row["email"] == MARK or seen.adopt:
            _present(team, row, seen)
        else:
            seen.not_ours(f"the team {team.name}")
    names = {team.name for team in wanted.teams} | {MARK}
    for name, row in sorted(by_name.items()):
        if row["email"] == MARK and name not in names:
            seen.step("-", f"team {name}, which the file no longer has", partial(seen.api.delete_team, row["id"]))


def _missing(team: Team, seen: Comparison) -> None:
    seen.step("+", f"team {team.name}", lambda: _make(team.name, seen))
    _members(team, [], seen)


def _present(team: Team, row: dict[str, Any], seen: Comparison) -> None:
    seen.teams[team.name] = row["id"]
    if row["email"] != MARK:
        what = f"team {team.name}: taken over by this file"
        seen.step("~", what, lambda: seen.api.mark_team(row["id"], team.name, MARK))
    _members(team, seen.api.members(row["id"]), seen)


def _make(name: str, seen: Comparison) -> None:
    team = seen.teams[name] = seen.api.make_team(name, MARK)
    for member in seen.api.members(team):  # the administrator who makes it
        seen.api.remove_member(team, member["userId"])


def _members(team: Team, rows: list[dict[str, Any]], seen: Comparison) -> None:
    present = {row["userId"]: row["login"] for row in rows}
    for login in sorted(team.members - seen.absent):
        if seen.users.get(login) not in present:
            seen.step("+", f"team {team.name}: with {login}", partial(_add, team.name, login, seen))
    belong = {seen.users.get(login) for login in team.members}
    for user, login in sorted(present.items()):
        if user not in belong:
            remove = partial(seen.api.remove_member, seen.teams[team.name], user)
            seen.step("-", f"team {team.name}: without {login}", remove)


def _add(team: str, login: str, seen: Comparison) -> None:
    if team not in seen.teams:
        raise NotDoneError(f"there is no team {team}")
    if login not in seen.users:
        raise NotDoneError(f"{login} has no user")
    seen.api.add_member(seen.teams[team], seen.users[login])
