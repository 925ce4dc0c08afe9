"""The commands of docs/backups.md reach the containers as they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioning.cli import main
from tests.compose.installation import PRODUCTION, TARGETS, installed, stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("by-hand") / "host", f"{TARGETS}{PRODUCTION}")


@pytest.mark.parametrize(
    "words",
    [
        "exec backup cluster-ai backup now --config elsewhere.yml",
        "run --rm admin secrets rotate grafana-database-password",
        "run --rm admin secrets rotate redis-grafana-password --finish",
    ],
)
def test_what_is_behind_compose_is_not_for_us(
    words: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, ["deploy", "compose", *words.split()])
    assert done.exit_code == 0, done.output
    assert capfd.readouterr().out.endswith(f"/rendered/compose.yml {words}\n")


def test_they_need_not_be_told_which_file(folder: Path) -> None:
    services = stack(folder)["services"]
    for name in ("backup", "admin"):
        assert services[name]["working_dir"] == str(folder)
