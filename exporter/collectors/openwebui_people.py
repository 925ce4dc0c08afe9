"""Open WebUI's users and groups as counts. Names, e-mail addresses and ids stay in the answer they came in."""

from __future__ import annotations

from typing import Any

from exporter.collectors.openwebui_answers import mapping, rows
from exporter.errors import CollectError
from exporter.families import Family, Labels, amount, gauge, number

USERS = "/api/v1/users/all"
GROUPS = "/api/v1/groups/"
USAGE = "/api/usage"
ROLES = ("admin", "user", "pending", "other")
ACTIVE = "openwebui_users_active"
# Open WebUI itself calls a user active for three minutes.
WINDOWS = {"3m": 180, "1h": 3600, "24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400}


def users(answer: Any, *, own_id: str | None, now: float) -> list[Family]:
    """Users by role, and how many were active, from `/api/v1/users/all`.

    Every call with an API key makes the key's owner active, so that user is left out of the active ones: by `own_id`,
    or, when Open WebUI does not say who we are, by taking one away. Raises CollectError.
    """
    # Older versions answer the bare list.
    listed = list(rows(answer if isinstance(answer, list) else mapping(answer, USERS).get("users"), USERS))
    by_role = gauge(
        "openwebui_users",
        "Registered users by role (pending: waiting for an administrator's approval). Lists all users, so it is asked "
        "at most every `refresh`.",
    )
    counts = dict.fromkeys(ROLES, 0)
    for user in listed:
        role = user.get("role")
        counts[role if isinstance(role, str) and role in counts else "other"] += 1
    for role, count in counts.items():
        by_role.add(float(count), Labels(role=role))
    return [by_role, _active(listed, own_id, now)]


def active_now(answer: Any) -> list[Family]:
    """Users active in the last three minutes, from `/api/usage`, for versions whose user list does not say when.

    Our own call made the key's owner one of them. Raises CollectError.
    """
    family = _active_family()
    count = amount(mapping(answer, USAGE).get("user_count"))
    if count is not None:
        family.add(max(0.0, count - 1), Labels(window="3m"))
    return [family]


def tells_activity(families: list[Family]) -> bool:
    """Whether the user list said when people were last active (0.8 does not)."""
    return any(family.name == ACTIVE and family.samples for family in families)


def _active_family() -> Family:
    return gauge(
        ACTIVE,
        "Users seen within the window, without the owner of the monitoring API key (whom each look makes active). "
        "Older versions tell 3m only. Asked at most every `refresh`.",
    )


def _active(listed: list[dict[str, Any]], own_id: str | None, now: float) -> Family:
    family = _active_family()
    if any("last_active_at" not in user for user in listed):
        return family
    ours = 1 if own_id is None else 0
    seen = [number(user["last_active_at"]) for user in listed if own_id is None or user.get("id") != own_id]
    for window, seconds in WINDOWS.items():
        active = sum(1 for when in seen if when is not None and when >= now - seconds)
        family.add(float(max(0, active - ours)), Labels(window=window))
    return family


def groups(answer: Any) -> list[Family]:
    """How many groups there are and how many memberships, from `/api/v1/groups/`. Raises CollectError."""
    listed = list(rows(answer, GROUPS))
    total = gauge("openwebui_groups", "User groups. Asked at most every `refresh`.")
    total.add(float(len(listed)))
    memberships = gauge(
        "openwebui_group_memberships",
        "Memberships in all groups; somebody in two groups counts twice. Asked at most every `refresh`.",
    )
    counts = [amount(group.get("member_count")) for group in listed]
    known = [count for count in counts if count is not None]
    if len(known) == len(counts):
        memberships.add(number(sum(known, 0.0)))
    return [total, memberships]


def own_id(answer: Any, path: str) -> str | None:
    """Our user's id from an answer about the session's user; None when it has none."""
    try:
        found = mapping(answer, path).get("id")
    except CollectError:
        return None
    return found if isinstance(found, str) and found else None
