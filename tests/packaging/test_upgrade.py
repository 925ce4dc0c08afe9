"""What the version before left is taken over by this one: rendered files, secrets, and files that are no more.

The version before is the newest tag that this commit comes after; without tags, this project a hundred changes ago.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import tool

ROOT = Path(__file__).parents[2]
CHANGES = 100
SECRETS = (
    "import sys; from pathlib import Path; from provisioning.render import Places, make_secrets;"
    "out = Path(sys.argv[1]); make_secrets(Places(data=out / 'data', secrets=out / 'secrets'))"
)
FILE = """\
name: lab
targets:
  dask: [{name: main, scheduler: "tcp://10.0.0.5:8786"}]
  ollama: [{name: gpu-1, url: "http://10.0.0.7:11434"}]
people:
  - {name: ana, email: ana@example.org, role: operator}
alerts:
  thresholds: {dask_worker_memory_ratio: 0.7}
"""


def git(*words: str) -> str | None:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the version before."""
    commit = git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^") or git(
        "rev-parse", "--verify", f"HEAD~{CHANGES}"
    )
    if commit is None:
        pytest.skip("this copy has no version before it: not a clone, or a shallow one")
    folder = tmp_path_factory.mktemp("before")
    archive = folder / "code.tar"
    subprocess.run(["git", "archive", "--output", archive, commit], cwd=ROOT, check=True)
    (folder / "code").mkdir()
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", folder / "code"], check=True)
    return folder / "code"


def run(code: Path, program: str, *arguments: str | Path) -> None:
    """Python, with the code of one of the versions."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def render(code: Path, out: Path) -> None:
    """All that a version writes: the secrets of `cluster-ai up`, then what is rendered."""
    config = out.parent / "cluster-ai.yml"
    config.write_text(FILE)
    run(code, SECRETS, out)
    run(code, "from provisioning.cli import main; main()", "render", "--config", config, "--out", out)


def contents(folder: Path) -> dict[str, str]:
    """Rendered files by path, as if they lay elsewhere."""
    return {
        str(path.relative_to(folder)): path.read_text().replace(str(folder.parent), "/srv")
        for path in folder.rglob("*")
        if path.is_file() and "secrets" not in path.parts
    }


def test_what_was_rendered_before_becomes_what_is_rendered_now(before: Path, tmp_path: Path):
    """Nothing of the older stays, and nothing of it is in the way."""
    (tmp_path / "upgraded").mkdir()
    (tmp_path / "fresh").mkdir()
    upgraded, fresh = tmp_path / "upgraded/out", tmp_path / "fresh/out"
    render(before, upgraded)
    older = contents(upgraded)
    secrets = {path.name: path.read_bytes() for path in (upgraded / "secrets").iterdir()}
    render(ROOT, upgraded)
    render(ROOT, fresh)
    assert contents(upgraded).keys() == contents(fresh).keys()
    assert contents(upgraded) == contents(fresh)
    assert contents(upgraded) != older, "the two versions render the same: this test shows nothing"
    assert secrets
    assert {path.name: path.read_bytes() for path in (upgraded / "secrets").iterdir()} == secrets
    checked = subprocess.run(
        [tool("promtool"), "check", "config", upgraded / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
