"""Folders, and who may see and change what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from provisioning.grafana.api import NotDoneError
from provisioning.grafana.steps import Comparison
from provisioning.grafana.wanted import PAGES_FOLDER, Folder, Grant, Wanted

_MAY = {1: "view", 2: "edit", 4: "administer"}


def compare(wanted: Wanted, seen: Comparison) -> None:
    """Plans what is to change. A folder that the file no longer has stays, with what people put in it."""
    for folder in wanted.folders:
        row = seen.api.folder(folder.uid)
        if row is None:
            _missing(folder, seen)
        else:
            _present(folder, row["title"], seen)


def _missing(folder: Folder, seen: Comparison) -> None:
    def make() -> None:
        seen.api.make_folder(folder.uid, folder.title)
        seen.api.set_permissions(folder.uid, list(_items(folder.grants, seen)))

    seen.step("+", f"folder {folder.uid}: {_words(folder.grants)}", make)


def _present(folder: Folder, title: str, seen: Comparison) -> None:
    if title != folder.title and folder.uid != PAGES_FOLDER:  # the pages' files name theirs
        what = f"folder {folder.uid}: title {title} -> {folder.title}"
        seen.step("~", what, lambda: seen.api.name_folder(folder.uid, folder.title))
    found = frozenset(_found(seen.api.permissions(folder.uid), seen))
    if found != folder.grants:
        what = f"folder {folder.uid}: {_words(found)} -> {_words(folder.grants)}"
        seen.step("~", what, lambda: seen.api.set_permissions(folder.uid, list(_items(folder.grants, seen))))


def _found(rows: Iterable[dict[str, Any]], seen: Comparison) -> Iterator[Grant]:
    names = {number: name for name, number in seen.accounts.items()}
    for row in rows:
        if row["inherited"]:
            continue
        permission = row["permission"]
        if row["teamId"]:
            yield Grant("team", row["team"], permission)
        elif row["userId"] in names:
            yield Grant("account", names[row["userId"]], permission)
        elif row["userId"]:
            yield Grant("user", row["userLogin"], permission)
        else:
            yield Grant("role", row["role"], permission)


def _items(grants: Iterable[Grant], seen: Comparison) -> Iterator[dict[str, Any]]:
    """The grants as Grafana takes them. Raises NotDoneError when one is for something that could not be made."""
    ids = {"team": ("teamId", seen.teams), "account": ("userId", seen.accounts)}
    for grant in sorted(grants):
        if grant.kind == "role":
            yield {"role": grant.who, "permission": grant.permission}
            continue
        key, known = ids[grant.kind]
        if grant.who not in known:
            raise NotDoneError(f"there is no {grant.kind} {grant.who} of this file")
        yield {key: known[grant.who], "permission": grant.permission}


def _words(grants: Iterable[Grant]) -> str:
    """`Editor edit, team gpu view`."""
    parts = [
        f"{'' if grant.kind == 'role' else f'{grant.kind} '}{grant.who} may {_MAY.get(grant.permission, '?')}"
        for grant in sorted(grants)
    ]
    return ", ".join(parts) or "admins alone"
