from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compose.audit.cli import audit
from compose.audit.deeds import told


def line(**said: Any) -> str:
    usual = {
        "time": "2026-11-23T13:36:44+00:00", "address": "192.0.2.7", "method": "POST", "path": "/login", "status": 200,
        "identity": "", "login": "", "credential": "", "upstream_status": "200", "connection": 3,
    }  # fmt: skip
    return json.dumps({**usual, **said})


def run(tmp_path: Path, *lines: str | bytes, arguments: tuple[str, ...] = ()) -> Result:
    log = tmp_path / "audit.json"
    log.write_bytes(b"\n".join(one if isinstance(one, bytes) else one.encode() for one in lines))
    return CliRunner().invoke(audit, [str(log), *arguments])


def test_sign_ins_say_who_when_from_where_and_whether(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        line(login="ana"),
        line(login="ana", status=401, time="2026-11-23T13:36:40+00:00"),
        line(method="GET", path="/api/search", status=401, login="bo", credential="password"),
        line(method="GET", path="/login/generic_oauth", status=302, connection=9),
        line(method="HEAD", path="/login/generic_oauth", status=302, connection=9, signed_in="yes"),
        line(method="GET", path="/", identity="user:5", connection=9),
        line(method="GET", path="/logout", status=302, identity="user:7"),
    )
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        '2026-11-23 13:36:40  192.0.2.7        login "ana": tried to sign in (refused, 401)',
        '2026-11-23 13:36:44  192.0.2.7        login "ana": signed in',
        '2026-11-23 13:36:44  192.0.2.7        login "bo": came with a wrong password to /api/search (refused, 401)',
        "2026-11-23 13:36:44  192.0.2.7        user:5: went to sign in by generic_oauth",
        "2026-11-23 13:36:44  192.0.2.7        user:5: signed in by generic_oauth",
        "2026-11-23 13:36:44  192.0.2.7        user:7: signed out",
    ]


def test_what_happened_within_a_second_keeps_its_order(tmp_path: Path) -> None:
    """Else what a stranger tries over a connection that somebody has left would be theirs."""
    tried = line(method="GET", path="/login/evil", at=1795441004.9)
    left = line(method="GET", path="/logout", identity="user:7", at=1795441004.1)
    done = run(tmp_path, tried, left)
    assert [row.split("  ")[-1] for row in done.output.splitlines()] == [
        "user:7: signed out", "unknown: went to sign in by evil",
    ]  # fmt: skip


def test_of_what_two_grafanas_were_asked_nobody_knows_what_the_first_one_did(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        line(method="DELETE", path="/api/folders/x", identity="user:7", status=404, upstream_status="502, 404"),
        line(method="DELETE", path="/api/folders/y", identity="user:7", status=200, upstream_status="502, 200"),
    )
    assert [row.split("  ")[-1] for row in done.output.splitlines()] == [
        "user:7: removed folder x (unknown, 404)", "user:7: removed folder y",
    ]  # fmt: skip


def test_a_flood_is_read_in_seconds(tmp_path: Path) -> None:
    """Of lines without a name, on one connection within a minute."""
    begun = time.monotonic()
    assert run(tmp_path, *[line(method="GET", path="/login/x")] * 20_000).exit_code == 0
    assert time.monotonic() - begun < 20


def test_nobody_is_taken_for_who_came_later_or_from_elsewhere(tmp_path: Path) -> None:
    begun = line()
    for other in (
        {"time": "2026-11-23T13:38:00+00:00"},
        {"connection": 4},
        {"address": "192.0.2.8"},
    ):
        done = run(tmp_path, begun, line(method="GET", path="/", identity="user:5", **other))
        assert done.output.count("unknown: signed in") == 1, other


@pytest.mark.parametrize(
    ("method", "path", "kind", "words"),
    [
        ("POST", "/api/admin/users", "people", "made a user"),
        ("DELETE", "/api/admin/users/7", "people", "removed user 7"),
        ("PUT", "/api/admin/users/7/password", "people", "set the password of user 7"),
        ("PUT", "/api/admin/users/7/permissions", "permissions", "changed whether user 7 administers Grafana"),
        ("PATCH", "/api/org/users/7", "permissions", "changed the role of user 7"),
        ("PATCH", "/api/orgs/1/users/7", "permissions", "changed the role of user 7"),
        ("PUT", "/api/teams/3/members", "permissions", "changed who is in team 3"),
        ("POST", "/api/serviceaccounts/2/tokens", "permissions", "made a token of service account 2"),
        ("PATCH", "/api/serviceaccounts/2", "permissions", "changed service account 2"),
        ("POST", "/api/folders/gpu/permissions", "permissions", "changed who may see or edit folder gpu"),
        ("POST", "/api/dashboards/uid/x/permissions", "permissions", "changed who may see or edit page x"),
        ("POST", "/api/access-control/folders/x/users/7", "permissions", "changed rights: folders/x/users/7"),
        ("POST", "/api/alertmanager/am/api/v2/silences", "silences", "made or changed a silence in am"),
        ("DELETE", "/api/alertmanager/am/api/v2/silence/0a-b", "silences", "ended silence 0a-b"),
        ("GET", "/user/email/update", "people", "confirmed a new address"),
        ("POST", "/api/alertmanager/am/api/v2/alerts", "silences", "sent alerts of their own to am"),
        ("POST", "/api/folders", "pages", "made a folder"),
        ("DELETE", "/api/folders/x", "pages", "removed folder x"),
        ("POST", "/api/folders/x/move", "pages", "changed folder x"),
        ("POST", "/apis/folder.grafana.app/v1beta1/namespaces/default/folders", "pages", "made a folder"),
        ("POST", "/api/dashboards/db", "pages", "saved a page"),
        ("PUT", "/apis/dashboard.grafana.app/v1beta1/namespaces/default/dashboards/x", "pages", "changed page x"),
        ("DELETE", "/api/dashboards/uid/x", "pages", "removed page x"),
        ("PUT", "/api/datasources/uid/p", "data sources", "changed data source p"),
        ("DELETE", "/api/datasources/uid/p", "data sources", "removed data source p"),
        ("PUT", "/api/org/preferences", "other", "PUT /api/org/preferences"),
    ],
)
def test_changes_are_told_in_words(method: str, path: str, kind: str, words: str) -> None:
    assert told(method, path) == (kind, words)


@pytest.mark.parametrize("path", ["/api/folders/x", "/api/teams/3/members", "/d/x", "/api/access-control/user/actions"])
def test_reading_is_no_deed(path: str) -> None:
    assert told("GET", path) is None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/org/%75sers/7", "changed the role of user 7"),
        ("/api/org/users/7/", "changed the role of user 7"),
        ("/api/org/users/%37/", "changed the role of user 7"),
    ],
)
def test_a_path_in_disguise_is_told_like_any_other(path: str, words: str) -> None:
    assert told("PATCH", path) == ("permissions", words)
    assert told("GET", "/logout/") == ("sign-in", "signed out")
    assert told("DELETE", "/api/teams/a%2Fmembers") == ("permissions", "removed team a%2Fmembers")


def test_nobody_did_what_grafana_was_never_asked_for(tmp_path: Path) -> None:
    assert run(tmp_path, line(path="/api/folders", login="ana", upstream_status="", status=301)).output == ""


def test_a_name_without_proof_is_nobodys(tmp_path: Path) -> None:
    """Beside a password that Grafana did not have to look at anything may stand."""
    done = run(
        tmp_path, line(method="GET", path="/login/generic_oauth", status=302, login="ana", credential="password")
    )
    assert "  unknown: went to sign in" in done.output


@pytest.mark.parametrize(("path", "told_so"), [("/login/", "tried to sign in"), ("/d/x", "came with a wrong password")])
def test_a_refused_sign_in_is_told_as_refused_however_nginx_answered(tmp_path: Path, path: str, told_so: str) -> None:
    credential = "" if "login" in path else "password"
    done = run(tmp_path, line(path=path, login="ana", status=302, upstream_status="502, 401", credential=credential))
    assert f'login "ana": {told_so}' in done.output
    assert "(refused, 401)" in done.output


@pytest.mark.parametrize("status", [499, 502, 504])
def test_what_got_no_answer_may_have_been_done(tmp_path: Path, status: int) -> None:
    done = run(tmp_path, line(path="/api/folders", status=status, upstream_status="-"))
    assert f"unknown: made a folder (unknown, {status})" in done.output


def test_nobody_is_taken_for_somebody_else_by_their_login(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps([{"userId": 7, "login": "user:1"}]))
    text = line(login="user:1"), line(path="/api/folders", identity="user:7")
    done = run(tmp_path, *text, arguments=("--names", str(names)))
    assert [row.split("  ")[-1].strip() for row in done.output.splitlines()] == [
        'login "user:1": signed in', "user:7: made a folder",
    ]  # fmt: skip


def test_people_are_told_by_name_where_names_are_given(tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps([{"userId": 7, "login": "ana"}]))
    text = line(path="/api/folders", identity="user:7"), line(path="/api/folders", identity="service-account:7")
    done = run(tmp_path, *text, arguments=("--names", str(names)))
    assert [row.split("  ")[-1] for row in done.output.splitlines()] == [
        "ana: made a folder", "service-account:7: made a folder",
    ]  # fmt: skip
    names.write_text('{"message": "Unauthorized"}')
    done = run(tmp_path, *text, arguments=("--names", str(names)))
    assert (done.exit_code, "is not what Grafana" in done.output) == (1, True)


def test_what_came_too_fast_is_not_listed(tmp_path: Path) -> None:
    assert run(tmp_path, line(status=429)).output == ""


def test_a_stranger_cannot_write_into_what_is_shown(tmp_path: Path) -> None:
    evil = "x\n2026-01-01 00:00:00  10.0.0.1  admin: removed user 1\x1b[2J\u202e\u2028"
    done = run(tmp_path, line(login=evil), line(path="/api/teams/" + evil.replace("\n", "%0a"), identity="user:7"))
    assert len(done.output.splitlines()) == 2
    assert all(char.isprintable() or char == "\n" for char in done.output)
    done = run(tmp_path, line(login=evil), arguments=("--json",))
    assert [json.loads(row)["who"] for row in done.output.splitlines()] == [f'login "{evil}"']


@pytest.mark.parametrize(
    "bad",
    ["{", "[]", "7", "null", '"x"', "{}", line(status="x"), line(time="yesterday"), line(time=7), "[" * 100_000,
     line(time="0001-01-01T00:00:00+23:00"), b"\xff\xfe{", line(connection=None), line()[:-9]],
)  # fmt: skip
def test_lines_that_are_not_nginxs_are_counted_and_passed_over(tmp_path: Path, bad: str | bytes) -> None:
    done = run(tmp_path, bad, line(login="ana"), b"")
    assert done.exit_code == 0
    assert 'login "ana": signed in' in done.output
    assert "1 lines are not" in done.output


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    done = run(tmp_path, line(login="ana?").encode().replace(b"?", b"\xff"))
    assert 'login "ana\ufffd": signed in' in done.output, "nobody hides by a byte that is no text"


def test_the_log_of_this_installation_is_read_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data/nginx").mkdir(parents=True)
    (tmp_path / "data/nginx/audit.json").write_text(line(login="ana"))
    tried = line(login="bo", status=401, time="2026-11-23T13:36:40+00:00")
    (tmp_path / "data/nginx/attempts.json").write_text(f"{tried}\n{line(login='bo', status=401)}")
    monkeypatch.chdir(tmp_path)
    output = CliRunner().invoke(audit, []).output
    assert sorted(row.split("  ")[-1].split(" (")[0] for row in output.splitlines()) == [
        'login "ana": signed in', 'login "bo": tried to sign in', 'login "bo": tried to sign in',
    ]  # fmt: skip
    (tmp_path / "data/nginx/attempts.json").unlink()
    assert CliRunner().invoke(audit, []).output.endswith('login "ana": signed in\n'), "one of before there were two"
    monkeypatch.chdir("/")
    assert CliRunner().invoke(audit, ["--config", str(tmp_path / "cluster-ai.yml")]).output.endswith("signed in\n")
    assert CliRunner().invoke(audit, ["--config", str(tmp_path / "x/cluster-ai.yml")]).exit_code == 1


def test_several_logs_are_one_story(tmp_path: Path) -> None:
    (tmp_path / "older.json").write_text(line(login="bo", time="2026-11-22T00:00:00+00:00"))
    done = run(tmp_path, line(login="ana"), arguments=(str(tmp_path / "older.json"),))
    assert [row.split()[4] for row in done.output.splitlines()] == ['"bo":', '"ana":']
    piped = CliRunner().invoke(audit, ["-", "--json"], input=line(login="ana"))
    assert json.loads(piped.output) == {
        "time": "2026-11-23T13:36:44Z", "who": 'login "ana"', "address": "192.0.2.7", "kind": "sign-in",
        "did": "signed in", "outcome": "done", "status": 200,
    }  # fmt: skip
    assert CliRunner().invoke(audit, [str(tmp_path / "none")]).exit_code == 1
