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


def test_commands_that_are_suggested_find_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "usual"))
    monkeypatch.delenv(DETACHED, raising=False)
    start._settled(said.append, State(tmp_path / "usual"), well=True)
    start._settled(said.append, State(tmp_path / "an other"), well=False)
    assert "status` shows it" in said[0]
    assert f"status --state-dir '{tmp_path}/an other'` shows it" in said[1]
    assert f"logs NAME --state-dir '{tmp_path}/an other'` tells more" in said[1]
