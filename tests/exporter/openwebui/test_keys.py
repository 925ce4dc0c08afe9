"""The API key: each of its states from Open WebUI's own words, and what follows from it."""

from __future__ import annotations

import pytest

from exporter.collectors.base import Answer
from exporter.collectors.openwebui_access import GATE
from exporter.errors import CollectError, Reason
from exporter.families import Family
from exporter.scrape import Watch
from provisioning.config.targets import OpenWebUITarget
from tests.exporter.fakes import values
from tests.exporter.openwebui.recorded import HTML, FakeHttp, answer, collector, recording

INVALID = "Your session has expired or the token is invalid. Please sign in again."
NO_PERMISSION = "You do not have permission to access this resource. Please contact your administrator for assistance."
DISABLED = "Use of API key is not enabled in the environment."


def status(families: list[Family]) -> set[str]:
    found = values(families)
    states = {key.split('"')[1]: value for key, value in found.items() if key.startswith("openwebui_api_key_status")}
    assert sum(states.values()) == bool(states), "one state, or no series"
    return {state for state, value in states.items() if value}


async def after(said: Answer | CollectError) -> tuple[FakeHttp, Watch]:
    http, now = recording("0.12.4")
    http.answers[GATE] = said
    target = OpenWebUITarget(name="chat", url="http://openwebui.test", api_key_file="unused")
    watch = Watch(target, collector(http, now=now))
    await watch.collect(5)
    await watch.close()
    return http, watch


@pytest.mark.parametrize(
    ("said", "state", "reason", "advice"),
    [
        (answer({"detail": INVALID}, 401), "invalid", Reason.UNAUTHORIZED, "does not know the API key"),
        (answer({"detail": "401 Unauthorized"}, 401), "invalid", Reason.UNAUTHORIZED, "does not know the API key"),
        (answer({"detail": NO_PERMISSION}, 401), "not_admin", Reason.UNAUTHORIZED, "not an administrator"),
        (answer({"detail": DISABLED}, 403), "disabled", Reason.FORBIDDEN, "set ENABLE_API_KEYS=true"),
        (
            CollectError(Reason.SECRET, "cannot read secrets/key: no such file"),
            "unreadable",
            Reason.SECRET,
            "cannot read secrets/key",
        ),
    ],
)
async def test_a_useless_key_costs_one_call_and_is_named(
    said: Answer | CollectError, state: str, reason: Reason, advice: str
) -> None:
    http, watch = await after(said)
    assert watch.last is not None
    assert watch.last.up
    assert status(watch.last.families) == {state}
    assert http.paths(key=True) == [GATE]
    for name, outcome in watch.last.outcomes.items():
        if name in ("health", "ready", "config"):
            assert outcome.error is None
        else:
            assert outcome.error is not None, name
            assert outcome.error.reason is reason
            assert advice in str(outcome.error)
    assert "openwebui_tasks_running" not in values(watch.last.families)


async def test_a_restricted_key_is_used_where_it_may_be_and_names_the_paths() -> None:
    http, watch = await after(answer({"detail": NO_PERMISSION}, 403))
    assert watch.last is not None
    assert status(watch.last.families) == {"restricted"}
    assert "API_KEYS_ALLOWED_ENDPOINTS: /api/tasks,/api/models,/api/usage," in str(watch.last.outcomes["key"].error)
    assert watch.last.outcomes["users"].error is None
    assert "/api/v1/users/all" in http.paths(key=True)


async def test_every_path_asked_with_the_key_is_in_the_advice() -> None:
    http, watch = await after(answer({"detail": NO_PERMISSION}, 403))
    assert watch.last is not None
    allowed = str(watch.last.outcomes["key"].error).rsplit(": ", 1)[1].split(",")
    for path in http.paths(key=True):
        assert any(path == prefix or path.startswith(f"{prefix}/") for prefix in allowed), path


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refusal_that_is_not_open_webuis_leaves_the_key_unknown(code: int) -> None:
    _, watch = await after(Answer(code, "text/html", b"<h1>Login</h1>"))
    assert watch.last is not None
    assert status(watch.last.families) == set()
    assert "in front of Open WebUI" in str(watch.last.outcomes["key"].error)


async def test_without_an_answer_the_key_is_unknown_and_later_known_again() -> None:
    http, now = recording("0.12.4")
    whole = collector(http, now=now)
    good = http.answers[GATE]
    http.answers[GATE] = CollectError(Reason.TIMEOUT, "no answer")
    with pytest.raises(CollectError):
        await whole.parts()["key"].ask()
    assert status(whole.standing()) == set()
    http.answers[GATE] = good
    await whole.parts()["key"].ask()
    assert status(whole.standing()) == {"ok"}


async def test_no_key_configured() -> None:
    http, now = recording("0.12.4")
    whole = collector(http, key=False, now=now)
    assert set(whole.parts()) == {"health", "ready", "config"}
    assert status(whole.standing()) == {"absent"}


async def test_running_tasks_are_counted() -> None:
    http, now = recording("0.12.4")
    http.answers["/api/tasks"] = answer({"tasks": ["a", "b", "c"]})
    assert values(await collector(http, now=now).parts()["key"].ask()) == {"openwebui_tasks_running": 3}
    http.answers["/api/tasks"] = answer({"other": 1})
    assert values(await collector(http, now=now).parts()["key"].ask()) == {}


async def test_a_path_that_alone_is_not_allowed_shows_until_it_is() -> None:
    http, now = recording("0.12.4")
    good = http.answers["/api/v1/groups/"]
    http.answers["/api/v1/groups/"] = answer({"detail": NO_PERMISSION}, 403)
    whole = collector(http, now=now)
    with pytest.raises(CollectError, match="API_KEYS_ALLOWED_ENDPOINTS"):
        await whole.parts()["groups"].ask()
    await whole.parts()["key"].ask()
    assert status(whole.standing()) == {"restricted"}, "also at a collection that does not ask for groups"
    http.answers["/api/v1/groups/"] = good
    await whole.parts()["groups"].ask()
    assert status(whole.standing()) == {"ok"}


@pytest.mark.parametrize("said", [HTML, answer([]), Answer(200, "application/json", b"{")])
async def test_something_else_in_place_of_the_gate_tells_nothing_of_the_key(said: Answer) -> None:
    _, watch = await after(said)
    assert watch.last is not None
    assert status(watch.last.families) == set()
    error = watch.last.outcomes["key"].error
    assert error is not None
    assert error.reason is Reason.NOT_JSON
