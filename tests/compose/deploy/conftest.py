from __future__ import annotations

import os
from pathlib import Path

import pytest

from compose.deploy import cli
from tests.compose.deploy.playing import Docker
from tests.compose.installation import PRODUCTION, TARGETS


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Docker(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    (folder / "ours").mkdir(parents=True)
    (folder / "ours/token").write_text("a-token")
    (folder / "cluster-ai.yml").write_text(TARGETS + PRODUCTION)
    return folder / "cluster-ai.yml"


@pytest.fixture
def rendered(file: Path) -> Path:
    """The same file, once `up` has rendered what is in it."""
    (file.parent / "rendered").mkdir()
    (file.parent / "rendered/compose.env").touch()
    return file


@pytest.fixture
def good_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "findings", lambda *_: [])
