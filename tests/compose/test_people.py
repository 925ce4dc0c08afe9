"""`cluster-ai up` brings the people of the file into Grafana, and shows first passwords where a person reads."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose.native import people as module
from compose.native.people import DETACHED, People, demo_people
from compose.native.places import State
from provisioning.config.model import Config
from provisioning.grafana.api import Api
from tests.compose.running import stack
from tests.ports import free_port
from tests.provisioning.grafana.fake import PASSWORD, Fake, refusal

Make = Callable[..., People]


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(module, "Api", lambda url, login, password: Api(url, login, password, fake.transport()))
    return fake


@pytest.fixture
def make(tmp_path: Path) -> Make:
    (tmp_path / "password").write_text(PASSWORD)

    def people(listed: list[dict[str, Any]], *, demo: bool = False) -> People:
        config = Config.model_validate({"targets": {}, "people": listed})
        return People(config, "http://grafana.test", tmp_path / "password", demo=demo)

    return people


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DETACHED, "terminal")


def test_the_demo_has_one_of_each_role_with_passwords_told_once(grafana: Fake, make: Make, tmp_path: Path) -> None:
    people = make(demo_people(tmp_path / "secrets"), demo=True)
    brought = people.bring(watched=True)
    assert brought.said == []
    assert {row["login"]: row["role"] for row in grafana.users.values()} == {
        "admin": "Admin",
        "operator": "Editor",
        "viewer": "Viewer",
    }
    told = [line.split()[:2] for line in brought.private[1:]]
    assert told[0] == ["admin", PASSWORD]
    for login, password in told[1:]:
        assert grafana.passwords[grafana.user(login)["userId"]] == password
        file = tmp_path / f"secrets/grafana-{login}-password"
        assert file.read_text() == password
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = make(demo_people(tmp_path / "secrets"), demo=True).bring(watched=True)
    assert (again.said, again.private) == ([], [])


@pytest.mark.usefixtures("terminal")
def test_a_password_made_here_is_shown_where_a_person_reads(grafana: Fake, make: Make) -> None:
    brought = make([{"name": "ana"}]).bring(watched=True)
    assert grafana.passwords[grafana.user("ana")["userId"]] in brought.private[1]
    assert brought.said == []


@pytest.mark.parametrize(("watched", "where"), [(True, "1"), (False, "terminal")])
def test_no_password_is_made_that_would_stay_in_a_log_or_be_lost(
    grafana: Fake, make: Make, monkeypatch: pytest.MonkeyPatch, watched: bool, where: str
) -> None:
    monkeypatch.setenv(DETACHED, where)
    brought = make([{"name": "ana"}]).bring(watched=watched)
    assert [row["login"] for row in grafana.users.values()] == ["admin"]
    assert brought.private == []
    assert "ana has no user" in brought.said[0]
    assert "grafana apply" in brought.said[0]


def test_refusals_are_said(grafana: Fake, make: Make) -> None:
    grafana.refuses = lambda call: refusal(500, "full disk") if call == "POST /folders" else None
    said = make([]).bring(watched=True).said
    assert said == ["  Grafana refused folder gate-operator: Editor may view: full disk (HTTP 500)"]


def test_a_grafana_that_is_gone_or_a_mistake_of_ours_ends_nothing(
    grafana: Fake, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Api", Api)
    (said,) = make([]).bring(watched=True).said
    assert said.startswith("  people and teams are not in Grafana: Grafana does not answer at http://grafana.test: ")
    monkeypatch.setattr(module, "Api", lambda *_: 1 / 0)
    (said,) = make([]).bring(watched=True).said
    assert "ZeroDivisionError" in said


def test_up_waits_for_it_and_keeps_no_password(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    with stack(state, {"grafana": [free_port()]}) as running:
        said = running.said("Everything answers")
        assert "1 thing is in the way" in said
        running.process.terminate()
        _, output = running.ended()
    lines = output.splitlines()
    private = next(index for index, line in enumerate(lines) if "a first password" in line)
    assert private < next(index for index, line in enumerate(lines) if "Everything answers" in line)
    assert "a first password" not in (state.logs / "supervisor.log").read_text()
