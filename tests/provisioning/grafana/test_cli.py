"""`cluster-ai grafana` as people call it, with the fake behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from provisioning.cli import main
from provisioning.grafana import cli
from provisioning.grafana.api import Api
from tests.provisioning.grafana.fake import PASSWORD, Fake, refusal

Command = Callable[..., Result]


@pytest.fixture
def grafana() -> Fake:
    return Fake()


@pytest.fixture
def asked() -> list[str]:
    """Where Grafana was looked for."""
    return []


@pytest.fixture
def run(tmp_path: Path, grafana: Fake, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    def api(url: str, login: str, password: str, *, host: str | None) -> Api:
        asked.append(f"{url} as {host}" if host else url)
        return Api(url, login, password, grafana.transport(), host=host)

    monkeypatch.setattr(cli, "Api", api)
    monkeypatch.setattr(cli, "_PATIENCE", 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state/secrets").mkdir(parents=True)
    (tmp_path / "state/secrets/grafana-admin-password").write_text(PASSWORD)
    write(tmp_path)

    def command(*words: str) -> Result:
        shown = ["--show-passwords"] if words[0] == "apply" else []
        return CliRunner().invoke(main, ["grafana", *words, *shown, "--state-dir", str(tmp_path / "state")])

    return command


def write(folder: Path, **keys: Any) -> None:
    people = [{"name": "ana", "role": "operator"}]
    (folder / "cluster-ai.yml").write_text(yaml.safe_dump({"targets": {}, "people": people} | keys))


def test_behind_nginx_grafana_is_asked_by_its_public_name(run: Command, asked: list[str], tmp_path: Path) -> None:
    write(tmp_path, production={"domain": "monitoring.example.org", "https": "0.0.0.0:8443"})
    assert run("apply", "--url", "http://grafana-1:3000").exit_code == 0
    assert asked == ["http://grafana-1:3000 as monitoring.example.org"]


def test_the_differences_come_first_and_passwords_once(run: Command, grafana: Fake, asked: list[str]) -> None:
    first = run("apply")
    assert first.exit_code == 0, first.output
    lines = first.output.splitlines()
    assert lines[0] == "Grafana is not yet as cluster-ai.yml says:"
    assert "  + user ana: Editor" in lines
    shown = lines.index("Passwords, shown only now; each person should change theirs (Profile > Change password):")
    assert lines.index("  + user ana: Editor") < shown
    assert lines[shown + 1].split() == ["ana", grafana.passwords[grafana.user("ana")["userId"]]]
    assert lines[-1] == "5 changes made."
    assert asked == ["http://127.0.0.1:3001"]
    again = run("apply")
    assert (again.exit_code, again.output) == (0, "Nothing to change: Grafana is as cluster-ai.yml says.\n")


def test_no_password_is_made_that_a_log_would_keep(run: Command, grafana: Fake, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["grafana", "apply", "--state-dir", str(tmp_path / "state")])
    assert result.exit_code == 1
    assert "! ana has no user: nobody here would see the first password" in result.output
    assert [row["login"] for row in grafana.users.values()] == ["admin"]
    assert grafana.preferences["theme"] == "dark", "the rest is done"


def test_a_dry_run_changes_nothing_and_says_whether_it_would(run: Command, grafana: Fake) -> None:
    dry = run("apply", "--dry-run")
    assert (dry.exit_code, grafana.made) == (3, [])
    assert "+ user ana: Editor" in dry.output
    assert "made" not in dry.output
    run("apply")
    assert run("apply", "--dry-run").exit_code == 0


def test_what_is_refused_or_in_the_way_fails(run: Command, grafana: Fake, tmp_path: Path) -> None:
    grafana.refuses = lambda call: refusal(403, "Access denied") if call == "POST /folders" else None
    run_one = run("apply")
    assert run_one.exit_code == 1
    assert "4 of 5 changes made." in run_one.output
    assert "  refused: folder gate-operator: Editor may view: Access denied (HTTP 403)" in run_one.output
    grafana.refuses = lambda _: None
    grafana.add_user("bob")
    write(tmp_path, people=[{"name": "ana", "role": "operator"}, {"name": "bob"}])
    two = run("apply")
    assert two.exit_code == 1
    assert "  ! the user bob was not made from this file and is left as it is; --adopt takes it over" in two.output
    three = run("apply")
    assert three.output.startswith(
        "Nothing to change: Grafana is as cluster-ai.yml says but for what stands in the way."
    )
    assert run("apply", "--adopt").exit_code == 0


def test_what_runs_says_where_grafana_and_the_file_are(run: Command, asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "cluster-ai.yml").rename(tmp_path / "demo.yml")
    (tmp_path / "state/run").mkdir()
    service = {"name": "grafana", "state": "running", "url": "http://127.0.0.1:4444"}
    record = {"config": str(tmp_path / "demo.yml"), "demo": True, "services": [service], "targets": []}
    (tmp_path / "state/run/status.json").write_text(json.dumps(record))
    assert run("apply", "--dry-run").exit_code == 3
    assert run("apply", "--dry-run", "--url", "https://grafana.example.org").exit_code == 3
    assert asked == ["http://127.0.0.1:4444", "https://grafana.example.org"]


@pytest.mark.parametrize(
    ("password", "said"),
    [("admin", "is not used: it is one that everybody would try"), ("Not-the-password-1", "does not let admin in")],
)
def test_the_administrators_password_must_be_right_and_strong(
    run: Command, grafana: Fake, tmp_path: Path, password: str, said: str
) -> None:
    (tmp_path / "state/secrets/grafana-admin-password").write_text(password)
    result = run("apply")
    assert result.exit_code == 1
    assert said in result.output
    assert len(password) < 12 or password not in result.output
    assert grafana.made == []


def test_a_file_or_secret_that_is_not_there_is_one_line(run: Command, tmp_path: Path) -> None:
    (tmp_path / "state/secrets/grafana-admin-password").unlink()
    result = run("apply")
    assert result.exit_code == 1
    assert result.output.startswith("cannot read ")
    assert "Traceback" not in result.output
    (tmp_path / "cluster-ai.yml").unlink()
    assert run("apply").exit_code == 1


def test_a_grafana_that_dies_half_way_loses_no_password(run: Command, grafana: Fake) -> None:
    def dies(call: str) -> httpx.Response | None:
        if call == "POST /folders":
            raise httpx.ConnectError("gone")
        return None

    grafana.refuses = dies
    result = run("apply")
    assert result.exit_code == 1
    assert grafana.passwords[grafana.user("ana")["userId"]] in result.output
    assert "Grafana does not answer at http://127.0.0.1:3001: gone" in result.output


def test_a_new_password_ends_sessions_and_is_shown(run: Command, grafana: Fake) -> None:
    run("apply")
    number = grafana.user("ana")["userId"]
    before = grafana.passwords[number]
    result = run("password", "ana")
    assert result.exit_code == 0
    assert grafana.passwords[number] in result.output
    assert grafana.passwords[number] != before
    assert grafana.signed_out == [number]
    grafana.add_user("zoe")
    refused = run("password", "zoe")
    assert (refused.exit_code, refused.output) == (1, "zoe is not among the people of the file\n")
