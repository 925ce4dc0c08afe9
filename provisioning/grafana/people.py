"""People: a user for everybody in the file, with the role it says; who left the file is kept out."""

from __future__ import annotations

from typing import Any

from provisioning.config.secrets import SecretError, SecretFile
from provisioning.grafana.passwords import new_password, weakness
from provisioning.grafana.steps import MARK, Comparison
from provisioning.grafana.wanted import Person, Wanted


def compare(wanted: Wanted, seen: Comparison, ours: frozenset[str]) -> None:
    """Plans what is to change. `ours`: logins that an earlier `apply` has marked as coming from the file."""
    me = seen.api.me()
    rows = seen.api.users()
    by_login = {row["login"].lower(): row for row in rows}
    named = set()
    for person in wanted.people:
        row = by_login.get(person.login) or _by_address(person, rows)
        if row is None:
            _missing(person, wanted, seen, me["orgId"])
            continue
        login = row["login"].lower()
        named.add(login)
        if login in ours or row["authLabels"] or seen.adopt:
            _present(person, row, seen, marked=login in ours)
        else:
            seen.absent.add(person.login)
            seen.not_ours(f"the user {login}")
    for login in sorted(ours & by_login.keys() - named):
        _gone(login, by_login[login], seen)
    left = sorted(by_login.keys() - named - ours - {me["login"].lower()})
    if left:
        seen.notes.append(f"users that are not from this file, left as they are: {', '.join(left)}")


def _by_address(person: Person, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Somebody who signed in elsewhere under another name, known by the address; never a user with a password."""
    address = (person.email or "").lower()
    return next((row for row in rows if address and row["authLabels"] and row["email"].lower() == address), None)


def _missing(person: Person, wanted: Wanted, seen: Comparison, organization: int) -> None:
    if not wanted.passwords:
        seen.absent.add(person.login)
        seen.notes.append(f"{person.login} has not signed in yet, and gets the rights after that")
        return
    why = _no_first_password(person, seen)
    if why is not None:
        seen.absent.add(person.login)
        seen.conflicts.append(f"{person.login} has no user: {why}")
        return

    def make() -> None:
        password = _first_password(person)
        user = seen.api.make_user(person.login, person.email, password, organization)
        seen.users[person.login] = user
        seen.api.add_member(seen.teams[MARK], user)
        seen.api.set_role(user, person.role)
        if person.password_file is None and seen.show is not None:
            seen.show(person.login, password)

    address = f", {person.email}" if person.email else ""
    seen.step("+", f"user {person.login}: {person.role}{address}", make)


def _no_first_password(person: Person, seen: Comparison) -> str | None:
    """Why nobody could sign in with the first password."""
    if person.password_file is None:
        return None if seen.show else "nobody here would see the first password, which is shown in a terminal alone"
    try:
        weak = weakness(SecretFile(person.password_file).read(), person.login)
    except SecretError as error:
        return str(error)
    return f"the password in {person.password_file} is not used: {weak}" if weak else None


def _first_password(person: Person) -> str:
    return new_password() if person.password_file is None else SecretFile(person.password_file).read()


def _present(person: Person, row: dict[str, Any], seen: Comparison, *, marked: bool) -> None:
    user = seen.users[person.login] = row["userId"]
    elsewhere = bool(row["authLabels"])  # where people sign in looks after name and address
    if not marked:
        seen.step(
            "~", f"user {person.login}: taken over by this file", lambda: seen.api.add_member(seen.teams[MARK], user)
        )
    if row["isDisabled"]:
        seen.step("~", f"user {person.login}: let in again", lambda: seen.api.enable(user))
    if row["role"] != person.role and not row["isExternallySynced"]:
        seen.step(
            "~", f"user {person.login}: {row['role']} -> {person.role}", lambda: seen.api.set_role(user, person.role)
        )
    email = person.email
    if email and row["email"].lower() != email.lower() and not elsewhere:
        seen.step(
            "~",
            f"user {person.login}: address {row['email']} -> {email}",
            lambda: seen.api.set_email(user, row["login"], row["name"], email),
        )


def _gone(login: str, row: dict[str, Any], seen: Comparison) -> None:
    """Nobody is deleted: what they made would lose its author, and they may come back."""
    if not row["isDisabled"]:
        what = f"user {login}: kept out, because the file no longer has this name"
        seen.step("-", what, lambda: seen.api.disable(row["userId"]))
