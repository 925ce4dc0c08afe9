from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dashboards import build
from provisioning.cli import main


def test_the_committed_pages_are_what_the_code_gives():
    assert build.stale() == [], "run `cluster-ai dashboards build` and commit what it writes"


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_same_bytes_in_any_process(seed):
    code = "from dashboards.build import texts; print(''.join(texts().values()), end='')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "".join(build.texts().values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "FOLDER", tmp_path / "json")
    return tmp_path / "json"


def test_build_writes_what_changed_and_removes_what_is_no_page(folder: Path):
    committed = {*build.PAGES, build.LOGS} - build.NOT_COMMITTED
    assert len(build.write()) == len(committed)
    assert build.write() == []
    (folder / "dashboard.json").write_text("{}")
    (folder / "gone.json").write_text("{}")
    assert build.write() == [folder / "dashboard.json", folder / "gone.json"]
    assert sorted(path.stem for path in folder.iterdir()) == sorted(committed)


def test_check_names_what_is_not_up_to_date_and_writes_nothing(folder: Path):
    build.write()
    assert CliRunner().invoke(main, ["dashboards", "build", "--check"]).exit_code == 0
    (folder / "dashboard.json").write_text("{}")
    result = CliRunner().invoke(main, ["dashboards", "build", "--check"])
    assert result.exit_code == 1
    assert result.stdout == f"not up to date: {os.path.relpath(folder / 'dashboard.json')}\n"
    assert (folder / "dashboard.json").read_text() == "{}"
    assert CliRunner().invoke(main, ["dashboards", "build"]).stdout.startswith("wrote ")
