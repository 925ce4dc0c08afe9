"""What the commands say of a state folder that is not ours to look into, and how they tell of one that is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from compose.cli import COMMANDS
from compose.native import start
from compose.native.people import DETACHED
from compose.native.places import STATE_VARIABLE, State
from provisioning.cli import main
from tests.provisioning.secrets.installed import installed


@pytest.mark.parametrize("name", ["status", "logs", "down", "up"])
@pytest.mark.parametrize("hidden", [True, False])
def test_another_users_stack_is_not_called_one_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, hidden: bool
) -> None:
    exists = Path.exists

    def refused(path: Path) -> bool:
        if path == tmp_path:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    if hidden:
        monkeypatch.setattr(Path, "exists", refused)
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    command = next(command for command in COMMANDS if command.name == name)
    done = CliRunner().invoke(command, [*(["exporter"] if name == "logs" else []), "--state-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output == f"Error: {tmp_path} is another user's; run this as who ran `up`\n"


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["up"], "up"),
        (["up", "--detach", "--state-dir", "elsewhere"], "up"),
        (["down"], "down"),
        (["status"], "status"),
        (["status", "--json"], "status"),
        (["logs", "prometheus"], "compose logs NAME"),
        (["logs", "nginx"], "compose logs NAME"),
    ],
)
def test_beside_containers_nothing_runs_a_second_time(
    words: list[str], instead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(start, "detached", lambda *_: started.append("detached"))
    monkeypatch.setattr(start, "foreground", lambda *_: started.append("foreground"))
    installed(tmp_path)
    (tmp_path / "rendered").mkdir()
    (tmp_path / "rendered/compose.env").touch()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, started) == (1, [])
    assert len(done.output.splitlines()) == 1
    assert done.output.endswith(f" deploy {instead}`\n")


@pytest.mark.parametrize("rendered", [True, False])
def test_what_does_not_run_in_containers_is_looked_for(
    rendered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if rendered:  # the stack of those who change it, which has no door
        (tmp_path / "cluster-ai.yml").write_text("targets: {}\n")
        (tmp_path / "rendered").mkdir()
        (tmp_path / "rendered/compose.env").touch()
    else:
        installed(tmp_path)
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    done = CliRunner().invoke(main, ["status"])
    assert (done.exit_code, "nothing runs with state in" in done.output) == (3, True)


def test_a_state_folder_that_is_named_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what a mistake started beside the containers can be stopped."""
    installed(tmp_path)
    (tmp_path / "rendered").mkdir()
    (tmp_path / "rendered/compose.env").touch()
    monkeypatch.chdir(tmp_path)
    for words in (["status"], ["logs", "prometheus"], ["down"]):
        done = CliRunner().invoke(main, [*words, "--state-dir", "state"])
        assert "containers" not in done.output
        assert done.exit_code in {0, 1, 3}


def test_commands_that_are_suggested_find_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "usual"))
    monkeypatch.delenv(DETACHED, raising=False)
    start._settled(said.append, State(tmp_path / "usual"), well=True)
    start._settled(said.append, State(tmp_path / "an other"), well=False)
    assert "status` shows it" in said[0]
    assert f"status --state-dir '{tmp_path}/an other'` shows it" in said[1]
    assert f"logs NAME --state-dir '{tmp_path}/an other'` tells more" in said[1]
