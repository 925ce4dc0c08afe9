"""`secrets rotate` with a real PostgreSQL and Redis, killed at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis, exceptions

from provisioning.secrets import redis_users, rotating
from provisioning.secrets.database import Login, RefusedError, query
from provisioning.secrets.installation import Installation
from provisioning.secrets.looking import look
from provisioning.secrets.names import BY_NAME
from provisioning.secrets.rotating import rotate
from tests.ports import free_port
from tests.provisioning.secrets.installed import secret
from tests.standins import postgres_server, redis_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
NOWHERE = "http://127.0.0.1:9"
ROLES = [name for name, one in BY_NAME.items() if one.role]
USERS = [name for name, one in BY_NAME.items() if one.user]
WHERE = {"postgres": "postgres", "grafana": "grafana", "monitoring": "postgres", "backup": "grafana"}
STEPS = [
    (rotating, "create_secret"),
    (rotating, "query"),
    (rotating, "put"),
    (redis_users, "write_derived"),
    (redis_users, "reload"),
]


class Killed(BaseException):
    """As by a signal that cannot be caught: nothing is tidied up."""


@pytest.fixture(scope="module")
def there() -> Iterator[Installation]:
    with postgres_server.running(redis=f"127.0.0.1:{free_port()}") as server:
        folder = server.there.folder / "redis"
        folder.mkdir()
        with redis_server.rendered(server.there, folder):
            yield server.there


def gets_in(there: Installation, name: str, password: str) -> bool:
    one = BY_NAME[name]
    if one.role:
        try:
            query(Login(there.parts.postgres, one.role, password), WHERE[one.role], "SELECT 1")
        except RefusedError:
            return False
        return True
    host, _, port = there.parts.redis.rpartition(":")
    with Redis(host=host, port=int(port), username=one.user, password=password, retry=None) as asked:
        try:
            asked.ping()
        except exceptions.AuthenticationError:
            return False
    return True


def killing(monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> Callable[[], int]:
    """Kills at the step of that number, before or after it is done; gives the count of steps there were."""
    count = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            mine = count == at
            if mine and not after:
                raise Killed
            result = real(*args, **options)
            if mine:
                raise Killed
            return result

        return step

    for module, name in STEPS:
        monkeypatch.setattr(module, name, wrap(getattr(module, name)))
    return lambda: count


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ROLES + USERS)
def test_killed_at_any_step_the_next_one_mends_it(
    name: str, after: bool, there: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {other: secret(there, other) for other in (*ROLES, *USERS) if other != name}
    at = 0
    while True:
        at += 1
        with monkeypatch.context() as patch:
            steps = killing(patch, at, after=after)
            try:
                rotate(there, name, grafana=NOWHERE)
            except Killed:
                pass
            else:
                break
        before = secret(there, name)
        rotate(there, name, grafana=NOWHERE)
        assert gets_in(there, name, secret(there, name)), f"killed at step {at}"
        assert not list(there.secrets.glob("*.next"))
        if BY_NAME[name].restart and BY_NAME[name].user:
            assert gets_in(there, name, before), "who uses the old one was turned away"
            rotate(there, name, grafana=NOWHERE, finish=True)
            assert gets_in(there, name, secret(there, name))
    assert at > steps() >= 4
    if BY_NAME[name].user:
        rotate(there, name, grafana=NOWHERE, finish=True)
    assert not [row for row in look(there) if row.problem or (row.note and row.name != "backup-operator-key")]
    assert {other: secret(there, other) for other in others} == others
    for other, password in others.items():
        assert gets_in(there, other, password)


@pytest.mark.parametrize("name", ROLES)
def test_the_old_password_is_taken_no_more(name: str, there: Installation) -> None:
    old = secret(there, name)
    rotate(there, name, grafana=NOWHERE)
    assert not gets_in(there, name, old)


@pytest.mark.parametrize("name", [name for name in USERS if BY_NAME[name].restart])
def test_redis_takes_both_until_it_is_told_to_finish(name: str, there: Installation) -> None:
    old = secret(there, name)
    said = rotate(there, name, grafana=NOWHERE)
    assert said[-1] == f"then: cluster-ai secrets rotate {name} --finish"
    assert said[0].startswith("restart ")
    assert gets_in(there, name, old)
    assert gets_in(there, name, secret(there, name))
    rotate(there, name, grafana=NOWHERE, finish=True)
    assert not gets_in(there, name, old)
    assert gets_in(there, name, secret(there, name))
