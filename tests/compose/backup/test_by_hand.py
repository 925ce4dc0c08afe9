"""The commands of docs/backups.md reach the containers as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose.installation import PRODUCTION, TARGETS, installed, stack


@pytest.mark.parametrize(
    "words",
    [
        "exec backup cluster-ai backup now --config elsewhere.yml",
        "run --rm admin secrets rotate grafana-database-password",
        "run --rm admin secrets rotate redis-grafana-password --finish",
    ],
)
def test_what_is_behind_compose_is_not_for_us(words: str, tmp_path: Path) -> None:
    folder = installed(tmp_path / "host", f"{TARGETS}{PRODUCTION}")
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    command = [sys.executable, "-m", "provisioning.cli", "deploy", "compose", *words.split()]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"/rendered/compose.yml {words}\n")


def test_they_need_not_be_told_which_file(tmp_path: Path) -> None:
    folder = installed(tmp_path / "host", f"{TARGETS}{PRODUCTION}")
    services = stack(folder)["services"]
    for name in ("backup", "admin"):
        assert services[name]["working_dir"] == str(folder)
