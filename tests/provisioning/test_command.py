"""How messages name the command, for people who can copy what they read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from provisioning.config.command import command


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command in an environment's folder that is not on PATH."""
    made = tmp_path / "project/.venv/bin/cluster-ai"
    made.parent.mkdir(parents=True)
    made.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(made.with_name("python")))
    monkeypatch.setenv("PATH", "/nowhere")
    return made


def test_it_is_a_path_as_short_as_can_be_where_path_does_not_have_it(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "project")
    assert command() == ".venv/bin/cluster-ai"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command() == str(own)


def test_it_is_its_name_on_path_and_where_there_is_no_other(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(own.parent))
    assert command() == "cluster-ai"
    monkeypatch.setenv("PATH", "/nowhere")
    own.unlink()
    assert command() == "cluster-ai"
