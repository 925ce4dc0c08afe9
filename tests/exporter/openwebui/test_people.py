"""Users and groups as counts."""

from __future__ import annotations

import pytest

from exporter.collectors.base import Answer
from exporter.collectors.openwebui_people import groups, users
from exporter.errors import CollectError, Reason
from tests.exporter.fakes import values
from tests.exporter.openwebui.recorded import HTML, NOW, answer, collector, recording

HOUR = 3600.0


def user(name: str, *, ago: float = 0.0, role: object = "user") -> dict[str, object]:
    return {"id": name, "role": role, "last_active_at": NOW - ago}


def active(*people: dict[str, object], own_id: str | None = "monitor") -> dict[str, float]:
    found = values(users({"users": list(people)}, own_id=own_id, now=NOW))
    return {key.split('"')[1]: value for key, value in found.items() if "active" in key}


def test_windows() -> None:
    people = [user("a", ago=60), user("b", ago=2 * HOUR), user("c", ago=100 * HOUR), user("d", ago=90 * 24 * HOUR)]
    assert active(*people) == {"3m": 1, "1h": 1, "24h": 2, "7d": 3, "30d": 3}


def test_the_monitors_own_user_is_not_active() -> None:
    assert active(user("monitor"), user("a")) == {"3m": 1, "1h": 1, "24h": 1, "7d": 1, "30d": 1}


def test_an_unknown_own_user_is_taken_away_but_never_below_zero() -> None:
    assert active(user("x"), user("a", ago=2 * HOUR), own_id=None) == {"3m": 0, "1h": 0, "24h": 1, "7d": 1, "30d": 1}
    assert set(active(user("a", ago=90 * 24 * HOUR), own_id=None).values()) == {0}


def test_activity_is_unknown_when_a_version_does_not_say() -> None:
    assert active({"id": "a", "role": "user"}, user("b")) == {}


def test_somebody_never_seen_is_not_active() -> None:
    assert active({"id": "a", "role": "user", "last_active_at": None}, user("b"))["30d"] == 1


def test_roles_are_a_fixed_set() -> None:
    people = [user("a", role="admin"), user("b"), user("c", role="somebody@example.com"), user("d", role=["admin"])]
    found = values(users({"users": people}, own_id=None, now=NOW))
    assert {key: value for key, value in found.items() if "active" not in key} == {
        'openwebui_users{role="admin"}': 1,
        'openwebui_users{role="user"}': 1,
        'openwebui_users{role="pending"}': 0,
        'openwebui_users{role="other"}': 2,
    }


def test_the_bare_list_of_older_versions() -> None:
    assert values(users([user("a")], own_id=None, now=NOW))['openwebui_users{role="user"}'] == 1


@pytest.mark.parametrize("body", [None, "x", {}, {"users": None}, {"users": {"a": 1}}, 7])
def test_a_wrong_shape(body: object) -> None:
    with pytest.raises(CollectError) as caught:
        users(body, own_id=None, now=NOW)
    assert caught.value.reason is Reason.SHAPE


def test_memberships_are_unknown_when_one_group_does_not_say() -> None:
    assert values(groups([{"member_count": 2}, {"member_count": 3}])) == {
        "openwebui_groups": 2,
        "openwebui_group_memberships": 5,
    }
    assert values(groups([{"member_count": 2}, {"member_count": None}])) == {"openwebui_groups": 2}
    assert values(groups([])) == {"openwebui_groups": 0, "openwebui_group_memberships": 0}


@pytest.mark.parametrize(
    ("status", "auths", "expected"),
    [
        (answer({"id": "monitor"}), None, ["/api/v1/users/user/status"]),
        (HTML, answer({"id": "monitor"}), ["/api/v1/users/user/status", "/api/v1/auths/"]),
        (answer({"detail": "restricted"}, 403), answer({"detail": "A human session is required."}, 403), None),
    ],
)
async def test_who_we_are_is_asked_where_this_version_says_it(
    status: Answer, auths: Answer | None, expected: list[str] | None
) -> None:
    http, _ = recording("0.12.4")
    http.answers["/api/v1/users/user/status"] = status
    if auths is not None:
        http.answers["/api/v1/auths/"] = auths
    http.answers["/api/v1/users/all"] = answer({"users": [user("monitor"), user("a"), user("b", ago=HOUR / 2)]})
    found = values(await collector(http).parts()["users"].ask())
    assert found['openwebui_users_active{window="3m"}'] == 1
    assert found['openwebui_users_active{window="1h"}'] == 2
    if expected is not None:
        assert [path for path in http.paths(key=True) if path.endswith(("status", "auths/"))] == expected


async def test_a_dear_answer_is_kept_longer() -> None:
    http, _ = recording("0.12.4")
    whole = collector(http)
    whole._seconds["users"] = 0.9
    parts = whole.parts()
    assert parts["users"].keep == pytest.approx(90)
    assert parts["groups"].keep == 60
    whole._seconds["users"] = 50.0
    assert whole.parts()["users"].keep == 600


@pytest.mark.parametrize(
    ("usage", "active"),
    [({"user_count": 3}, 2), ({"user_count": 0}, 0), ({"user_count": None}, None), ({"user_ids": ["a"]}, None)],
)
async def test_versions_whose_list_does_not_say_when_are_asked_who_is_active_now(
    usage: dict[str, object], active: float | None
) -> None:
    http, now = recording("0.12.4")
    http.answers["/api/v1/users/all"] = answer({"users": [{"id": "a", "role": "user"}]})
    http.answers["/api/usage"] = answer(usage)
    found = values(await collector(http, now=now).parts()["users"].ask())
    expected = {} if active is None else {'openwebui_users_active{window="3m"}': active}
    assert {key: value for key, value in found.items() if "active" in key} == expected
    assert found['openwebui_users{role="user"}'] == 1
