"""What `apply` makes of a Grafana, and what it leaves alone."""

from __future__ import annotations

import copy
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning.config.model import Config
from provisioning.grafana.api import Api, GrafanaError, RefusedError
from provisioning.grafana.apply import Refusal, carry_out, compare
from provisioning.grafana.passwords import weakness
from provisioning.grafana.steps import MARK, Comparison
from provisioning.grafana.wanted import wanted
from tests.provisioning.grafana.fake import PASSWORD, Fake, refusal

ANA = {"name": "Ana", "email": "ana@example.org", "role": "operator"}
BOB = {"name": "bob"}
CARLA = {"name": "carla", "role": "admin"}


class Run:
    """One `apply`."""

    def __init__(self, fake: Fake, *, adopt: bool = False, show: bool = True, **keys: Any) -> None:
        self.shown: dict[str, str] = {}
        config = Config.model_validate({"targets": {}} | keys)
        with Api("http://grafana.test", "admin", PASSWORD, fake.transport()) as api:
            before = copy.deepcopy(vars(fake) | {"refuses": None})
            remember = self.shown.__setitem__ if show else None
            self.seen: Comparison = compare(wanted(config), api, adopt=adopt, show=remember)
            assert vars(fake) | {"refuses": None} == before, "comparing changes nothing"
            self.refused: list[Refusal] = carry_out(self.seen.steps)

    @property
    def steps(self) -> list[str]:
        return [str(step) for step in self.seen.steps]


@pytest.fixture
def grafana() -> Fake:
    return Fake()


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, Any]:
    return {
        "people": [ANA, BOB, CARLA],
        "teams": [{"name": "gpu", "members": ["Ana", "bob"]}],
        "grafana": {
            "language": "pt",
            "theme": "system",
            "timezone": "America/Sao_Paulo",
            "folders": [{"name": "lab", "title": "Lab", "view": ["viewer", "gpu"], "edit": ["operator", "gpu"]}],
            "service_accounts": [
                {"name": "robot", "role": "none", "view": ["cluster-ai"], "write_token_to": tmp_path / "deep/robot"},
                {"name": "reporter", "write_token_to": tmp_path / "reporter", "edit": ["lab"], "expires": "90d"},
            ],
        },
    }


def test_an_empty_grafana_becomes_what_the_file_says(grafana: Fake, everything: dict[str, Any], tmp_path: Path) -> None:
    run = Run(grafana, **everything)
    assert (run.refused, run.seen.conflicts, run.seen.notes) == ([], [], [])
    assert {row["login"]: row["role"] for row in grafana.users.values()} == {
        "admin": "Admin", "ana": "Editor", "bob": "Viewer", "carla": "Admin",
    }  # fmt: skip
    assert grafana.user("ana")["email"] == "ana@example.org"
    assert grafana.team("gpu") == {"ana", "bob"}
    assert grafana.team(MARK) == {"ana", "bob", "carla"}
    team = next(row["id"] for row in grafana.teams.values() if row["name"] == "gpu")
    robot, reporter = (
        next(row["id"] for row in grafana.accounts.values() if row["name"] == name) for name in ("robot", "reporter")
    )
    assert grafana.accounts[robot]["role"] == "None"
    assert_grants(grafana, "gate-operator", {("role", "Editor"): 1})
    assert_grants(grafana, "cluster-ai", {("role", "Editor"): 1, ("role", "Viewer"): 1, ("userId", robot): 1})
    assert_grants(
        grafana, "lab", {("role", "Editor"): 2, ("role", "Viewer"): 1, ("teamId", team): 2, ("userId", reporter): 2}
    )
    assert grafana.preferences == {
        "theme": "system", "language": "pt-BR", "timezone": "America/Sao_Paulo",
        "homeDashboardUID": "cluster-ai-dashboard",
    }  # fmt: skip
    for path in (tmp_path / "deep/robot", tmp_path / "reporter"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "deep/robot").read_text() == grafana.tokens[robot][0]["key"]
    assert grafana.tokens[robot][0]["expiration"] is None
    assert grafana.tokens[reporter][0]["expiration"] is not None


def assert_grants(grafana: Fake, folder: str, expected: dict[tuple[str, Any], int]) -> None:
    found = {
        (key, value): grant["permission"]
        for grant in grafana.grants[folder]
        for key, value in grant.items()
        if key != "permission"
    }
    assert found == expected


def test_the_second_time_changes_nothing(grafana: Fake, everything: dict[str, Any]) -> None:
    Run(grafana, **everything)
    grafana.made.clear()
    again = Run(grafana, **everything)
    assert (again.steps, again.seen.notes, again.seen.conflicts, grafana.made) == ([], [], [], [])


def test_first_passwords_are_shown_once_and_keep_to_the_policy(grafana: Fake) -> None:
    run = Run(grafana, people=[ANA, BOB])
    assert set(run.shown) == {"ana", "bob"}
    assert run.shown["ana"] != run.shown["bob"]
    for login, password in run.shown.items():
        assert weakness(password, login) is None
        assert grafana.passwords[grafana.user(login)["userId"]] == password
        assert password not in "".join(run.steps)
    assert Run(grafana, people=[ANA, BOB]).shown == {}


def test_a_password_from_a_file_is_used_and_not_shown(grafana: Fake, tmp_path: Path) -> None:
    (tmp_path / "ana").write_text("Anas-own-password-1\n")
    (tmp_path / "bob").write_text("Bobs-own-password-1\n")
    ana, bob = ({**who, "password_file": tmp_path / who["name"].lower()} for who in (ANA, BOB))
    assert Run(grafana, people=[ana]).shown == {}
    unseen = Run(grafana, people=[ana, bob], show=False)
    assert (unseen.shown, unseen.seen.conflicts) == ({}, [])
    assert grafana.passwords[grafana.user("ana")["userId"]] == "Anas-own-password-1"
    assert grafana.passwords[grafana.user("bob")["userId"]] == "Bobs-own-password-1"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("admin", "everybody would try"),
        ("Admin-1234567890", "everybody would try"),
        ("ana", "everybody would try"),
        ("Short-1", "fewer than 12"),
        ("no-capital-letter-1", "a capital letter"),
        ("NO-SMALL-LETTER-1", "a small letter"),
        ("No-digit-at-all", "a digit"),
        ("NoOtherSignAtAll1", "no sign"),
        ("", "is empty"),
    ],
)
def test_a_weak_password_makes_no_user(grafana: Fake, tmp_path: Path, password: str, why: str) -> None:
    (tmp_path / "ana").write_text(password)
    run = Run(grafana, people=[{**ANA, "password_file": tmp_path / "ana"}])
    assert why in run.seen.conflicts[0]
    assert len(password) < 12 or password not in run.seen.conflicts[0]
    assert [row["login"] for row in grafana.users.values()] == ["admin"]


def test_where_nobody_would_see_a_password_none_is_made(grafana: Fake) -> None:
    run = Run(grafana, people=[ANA], teams=[{"name": "gpu", "members": ["Ana"]}], show=False)
    assert "ana has no user" in run.seen.conflicts[0]
    assert run.refused == []
    assert grafana.team("gpu") == set()


def test_who_leaves_the_file_is_kept_out_and_may_come_back(grafana: Fake) -> None:
    Run(grafana, people=[ANA, BOB], teams=[{"name": "gpu", "members": ["Ana", "bob"]}])
    gone = Run(grafana, people=[ANA], teams=[{"name": "gpu", "members": ["Ana"]}])
    assert gone.steps == [
        "- user bob: kept out, because the file no longer has this name",
        "- team gpu: without bob",
    ]
    assert grafana.user("bob")["isDisabled"]
    assert Run(grafana, people=[ANA], teams=[{"name": "gpu", "members": ["Ana"]}]).steps == []
    assert Run(grafana, people=[ANA, BOB]).steps[0] == "~ user bob: let in again"
    assert not grafana.user("bob")["isDisabled"]


def test_a_changed_role_or_address_follows_the_file(grafana: Fake) -> None:
    Run(grafana, people=[ANA])
    run = Run(grafana, people=[{"name": "ana", "email": "ana@new.example.org", "role": "viewer"}])
    assert run.steps == ["~ user ana: Editor -> Viewer", "~ user ana: address ana@example.org -> ana@new.example.org"]
    assert (grafana.user("ana")["role"], grafana.user("ana")["email"]) == ("Viewer", "ana@new.example.org")


def test_what_others_made_is_left_and_named(grafana: Fake, everything: dict[str, Any]) -> None:
    grafana.add_user("zoe", role="Admin")
    grafana.add_user("bob", role="Admin")
    grafana.add_team("gpu", members=(1,))
    grafana.add_team("theirs")
    grafana.tokens[grafana.add_account("reporter", role="Admin")] = [{"name": "by hand", "id": 99, "key": "k"}]
    grafana.tokens[grafana.add_account("theirs")] = [{"name": "by hand", "id": 98, "key": "k2"}]
    run = Run(grafana, **everything)
    assert [conflict.split(" was")[0] for conflict in run.seen.conflicts] == [
        "the user bob",
        "the team gpu",
        "the service account reporter",
    ]
    assert run.seen.notes == [
        "users that are not from this file, left as they are: zoe",
        "service accounts that are not from this file, left as they are: theirs",
    ]
    assert (grafana.user("bob")["role"], grafana.user("zoe")["role"], grafana.team("gpu")) == (
        "Admin",
        "Admin",
        {"admin"},
    )
    # The folder needs the team and the account that are not ours: it is refused, and the others are not.
    assert [refused.step.what.split(":")[0] for refused in run.refused] == ["folder lab"]
    assert grafana.preferences["language"] == "pt-BR"


def test_adopt_takes_over_what_has_the_same_name(grafana: Fake, everything: dict[str, Any]) -> None:
    grafana.add_user("bob", role="Admin")
    grafana.add_user("zoe", role="Admin")
    grafana.add_team("gpu", members=(1,))
    grafana.tokens[grafana.add_account("reporter", role="Admin")] = [
        {"name": "by hand", "id": 99, "key": "k", "hasExpired": False, "created": "2026-01-01T00:00:00Z"}
    ]
    run = Run(grafana, adopt=True, **everything)
    assert (run.seen.conflicts, run.refused) == ([], [])
    assert grafana.user("bob")["role"] == "Viewer"
    assert grafana.user("zoe")["role"] == "Admin"
    assert grafana.team("gpu") == {"ana", "bob"}
    assert "bob" not in run.shown, "a password that works is not replaced"
    assert Run(grafana, **everything).steps == []


def test_somebody_who_signs_in_elsewhere_gets_the_role_of_the_file(grafana: Fake) -> None:
    grafana.add_user("ana.silva", email="ana@example.org", authLabels=["Generic OAuth"])
    grafana.add_user("bob", role="Editor", authLabels=["JWT"], isExternallySynced=True)
    keys = {
        "people": [ANA, BOB, CARLA],
        "teams": [{"name": "gpu", "members": ["Ana", "bob", "carla"]}],
        "grafana": {"passwords": False},
    }
    run = Run(grafana, **keys)
    assert (run.refused, run.seen.conflicts) == ([], [])
    assert run.seen.notes == ["carla has not signed in yet, and gets the rights after that"]
    assert grafana.user("ana.silva")["role"] == "Editor"
    assert grafana.user("bob")["role"] == "Editor", "the sign-in sets this one's role"
    assert grafana.team("gpu") == {"ana.silva", "bob"}
    assert Run(grafana, **keys).steps == []


def test_an_address_alone_does_not_make_somebody_else_the_person(grafana: Fake) -> None:
    grafana.add_user("boss", email="ana@example.org", role="Admin")
    run = Run(grafana, people=[ANA])
    assert grafana.user("boss")["role"] == "Admin"
    assert "already exists (HTTP 412)" in str(run.refused[0])


def test_a_team_and_an_account_that_leave_the_file_lose_their_rights(grafana: Fake, everything: dict[str, Any]) -> None:
    Run(grafana, **everything)
    del everything["teams"], everything["grafana"]["service_accounts"]
    everything["grafana"]["folders"] = [{"name": "lab", "title": "Laboratory", "view": []}]
    run = Run(grafana, **everything)
    assert run.refused == []
    assert {row["name"] for row in grafana.teams.values()} == {MARK}
    assert all(row["isDisabled"] for row in grafana.accounts.values())
    assert_grants(grafana, "lab", {})
    assert grafana.folders["lab"]["title"] == "Laboratory"
    assert Run(grafana, **everything).steps == []


def test_a_folder_that_leaves_the_file_stays(grafana: Fake) -> None:
    Run(grafana, grafana={"folders": [{"name": "lab"}]})
    assert Run(grafana).steps == []
    assert "lab" in grafana.folders


def test_rights_given_by_hand_in_our_folders_go(grafana: Fake) -> None:
    Run(grafana)
    grafana.grants["gate-operator"].append({"role": "Viewer", "permission": 1})
    grafana.grants["cluster-ai"].append({"userId": 1, "permission": 4})
    assert Run(grafana).steps == [
        (
            "~ folder cluster-ai: Editor may view, Viewer may view, user admin may administer"
            " -> Editor may view, Viewer may view"
        ),
        "~ folder gate-operator: Editor may view, Viewer may view -> Editor may view",
    ]
    assert_grants(grafana, "gate-operator", {("role", "Editor"): 1})


def test_rights_from_a_folder_above_and_the_pages_own_title_are_no_difference(grafana: Fake) -> None:
    Run(grafana)
    grafana.grants["cluster-ai"].append({"role": "Viewer", "permission": 2, "inherited": True})
    grafana.folders["cluster-ai"]["title"] = "Titled by the pages' files"
    assert Run(grafana).steps == []


def test_a_grafana_with_very_many_teams_is_read_to_the_end(grafana: Fake) -> None:
    for number in range(1000):
        grafana.add_team(f"team-{number}")
    keys = {"people": [ANA], "teams": [{"name": "gpu", "members": ["Ana"]}]}
    assert Run(grafana, **keys).refused == []
    assert Run(grafana, **keys).steps == []


def lose(path: Path, _token: dict[str, Any]) -> None:
    path.unlink()


def strange(path: Path, _token: dict[str, Any]) -> None:
    path.write_text("glsa_somebody_elses")


def readable(path: Path, _token: dict[str, Any]) -> None:
    path.chmod(0o644)


def old(_path: Path, token: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    token["created"] = (now - timedelta(days=61)).isoformat()
    token["expiration"] = (now + timedelta(days=29)).isoformat()


def longer(_path: Path, token: dict[str, Any]) -> None:
    token["expiration"] = (datetime.now(UTC) + timedelta(days=365)).isoformat()


def endless(_path: Path, token: dict[str, Any]) -> None:
    token["expiration"] = None


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lose, "there is none that can be read"),
        (strange, "Grafana does not take the one there"),
        (readable, "others can read the file"),
        (old, "its time is nearly up"),
        (longer, "its time has changed in the file"),
        (endless, "the one there never ends"),
    ],
)
def test_a_token_that_is_no_longer_good_is_replaced(
    grafana: Fake, tmp_path: Path, happens: Callable[[Path, dict[str, Any]], None], why: str
) -> None:
    path = tmp_path / "token"
    keys = {"grafana": {"service_accounts": [{"name": "robot", "write_token_to": path, "expires": "90d"}]}}
    Run(grafana, **keys)
    (tokens,) = grafana.tokens.values()
    first = tokens[0]["key"]
    happens(path, tokens[0])
    assert Run(grafana, **keys).steps == [f"~ service account robot: a new token in {path}, because {why}"]
    assert path.read_text() == tokens[-1]["key"] != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # One that ends by itself goes on until then, for programs that have read it.
    assert len(tokens) == (1 if happens is endless else 2)
    assert Run(grafana, **keys).steps == []


def test_a_token_that_cannot_be_kept_is_not_left_in_grafana(grafana: Fake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    account = {"name": "robot", "write_token_to": tmp_path / "file/token"}
    run = Run(grafana, grafana={"service_accounts": [account]})
    assert "Not a directory" in str(run.refused[0]) or "File exists" in str(run.refused[0])
    assert list(grafana.tokens.values()) == [[]]


def test_each_refusal_is_told_with_its_reason_and_the_rest_is_done(grafana: Fake) -> None:
    grafana.refuses = lambda call: refusal(403, "Access denied\n to you") if call == "POST /admin/users" else None
    run = Run(grafana, people=[ANA], teams=[{"name": "gpu", "members": ["Ana"]}])
    assert [str(refused) for refused in run.refused] == [
        "user ana: Editor, ana@example.org: Access denied to you (HTTP 403)",
        "team gpu: with ana: ana has no user",
    ]
    assert grafana.preferences["theme"] == "dark"
    assert run.shown == {}


def test_a_first_page_that_is_not_there_is_said(grafana: Fake) -> None:
    run = Run(grafana, grafana={"home": "mine"})
    assert run.seen.conflicts == ["the first page cannot be mine: Grafana has no page of that uid"]
    assert "homeDashboardUID" not in grafana.preferences


def test_a_grafana_that_cannot_be_read_is_left_alone(grafana: Fake) -> None:
    grafana.refuses = lambda call: refusal(403, "no") if call == "GET /org/users" else None
    with pytest.raises(RefusedError, match=r"no \(HTTP 403\)"):
        Run(grafana)
    with (
        Api("http://grafana.test", "admin", "Wrong-password-1", grafana.transport()) as api,
        pytest.raises(GrafanaError, match="does not let admin in: Invalid username or password"),
    ):
        compare(wanted(Config.model_validate({"targets": {}})), api)
    assert grafana.made == []


@pytest.mark.parametrize("what", [httpx.ConnectError("refused"), httpx.ReadTimeout("")])
def test_a_grafana_that_does_not_answer_is_said(what: Exception) -> None:
    def fails(_request: httpx.Request) -> httpx.Response:
        raise what

    api = Api("http://grafana.test:3001", "admin", PASSWORD, httpx.MockTransport(fails))
    with api, pytest.raises(GrafanaError, match=r"does not answer at http://grafana\.test:3001: (refused|ReadTimeout)"):
        api.me()


def test_something_else_than_grafana_is_said() -> None:
    page = httpx.MockTransport(lambda _request: httpx.Response(200, text="<html>"))
    with Api("http://grafana.test", "admin", PASSWORD, page) as api, pytest.raises(GrafanaError, match="is not a Graf"):
        api.me()


@pytest.mark.parametrize(
    ("host", "sent"), [(None, "grafana.test"), ("monitoring.example.org", "monitoring.example.org")]
)
def test_the_name_that_grafana_wants_to_be_asked_by(host: str | None, sent: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["host"])
        return httpx.Response(200, json={"id": 1})

    with Api("http://grafana.test", "admin", PASSWORD, httpx.MockTransport(answer), host=host) as api:
        api.me()
    assert seen == [sent]
