"""What runs on GitHub: actions that nobody can change under us, no more rights than needed, in the right order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.images import IMAGES, VERSION
from provisioning.config.load import load

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
each = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
# What a job may ask for beside reading the code, and where.
RIGHTS = {
    ("deliver", "images"): {"packages": "write", "id-token": "write"},
    ("deliver", "staging"): {"packages": "read"},
    ("deliver", "production"): {"packages": "read"},
    ("deliver", "release"): {"contents": "write"},
    ("install", "install"): {"packages": "read"},
    ("rollback", "rollback"): {"packages": "read"},
}


def read(file: Path) -> dict[Any, Any]:
    data: dict[Any, Any] = yaml.safe_load(file.read_text())
    return data


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read(ROOT / f".github/workflows/{name}.yml")["jobs"]
    return found


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in read(file)["jobs"].values():
        yield from job.get("steps", ())


@each
def test_every_action_is_one_commit_whose_version_stands_beside_it(file: Path):
    for line in file.read_text().splitlines():
        used = re.search(r"uses: (\S+)", line)
        if used and not used[1].startswith("./"):
            assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_one_action_is_one_commit_everywhere():
    used = re.findall(r"uses: ([\w./-]+)@(\w+ # \S+)", "".join(file.read_text() for file in WORKFLOWS))
    assert len(set(used)) == len({name for name, _ in used})


@each
def test_a_job_has_the_rights_it_needs_and_no_others(file: Path):
    assert read(file)["permissions"] == {}
    for name, job in read(file)["jobs"].items():
        assert job["permissions"] == {"contents": "read"} | RIGHTS.get((file.stem, name), {}) or (
            job["permissions"] == RIGHTS.get((file.stem, name))
        ), name


@each
def test_the_code_is_fetched_without_leaving_a_password_in_the_folder(file: Path):
    for step in steps(file):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@each
def test_no_text_of_others_becomes_part_of_a_command(file: Path):
    for step in steps(file):
        assert "${{" not in step.get("run", ""), step


def test_the_tests_run_on_every_python_from_the_oldest_supported():
    oldest = re.findall(r"\d+", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])[1]
    pythons = jobs("check")["tests"]["strategy"]["matrix"]["python"]
    assert pythons == [f"3.{minor}" for minor in range(int(oldest), int(oldest) + len(pythons))]
    assert len(pythons) >= 3


def test_nothing_reaches_production_that_was_not_checked_signed_and_on_staging_first():
    steps = jobs("deliver")
    assert set(steps["images"]["needs"]) >= {"check", "version"}
    assert "images" in steps["staging"]["needs"]
    assert "staging" in steps["production"]["needs"]
    assert steps["production"]["with"]["environment"] == "production"
    assert jobs("install")["install"]["environment"] == "${{ inputs.environment }}"


def test_an_image_is_scanned_before_it_is_signed_and_the_signature_asked_for_before_it_is_installed():
    [named] = [step for step in jobs("deliver")["images"]["steps"] if step.get("id") == "build"]
    assert named["with"]["sbom"] is True
    assert named["with"]["provenance"] == "mode=max"
    order = [str(step.get("uses", step.get("run"))) for step in jobs("deliver")["images"]["steps"]]
    scanned = next(index for index, text in enumerate(order) if text.startswith("anchore/scan-action@"))
    assert scanned < next(index for index, text in enumerate(order) if text.startswith("cosign sign"))
    order = [str(step.get("run")) for step in jobs("install")["install"]["steps"]]
    verified = next(index for index, text in enumerate(order) if "cosign verify" in text)
    assert verified < next(index for index, text in enumerate(order) if "install.sh" in text)


def test_all_images_of_ours_are_built_verified_and_tried():
    ours = {name.partition(":")[0] for name in IMAGES.values() if name.endswith(f":{VERSION}") and "/" not in name}
    assert {row["name"] for row in jobs("deliver")["images"]["strategy"]["matrix"]["include"]} == ours
    verify = next(step for step in jobs("install")["install"]["steps"] if step.get("id") == "images")["run"]
    assert set(re.search(r"for name in (.*); do", verify)[1].split()) == ours  # type: ignore[index]
    built = next(step for step in jobs("check")["containers"]["steps"] if "docker build" in step.get("run", ""))["run"]
    assert set(re.findall(r"--tag (\S+)", built)) == {f"{name}:{VERSION}" for name in ours}


def test_what_is_tried_in_the_official_images_is_a_good_installation():
    """And is asked where it answers."""
    there = load(ROOT / ".github/try.yml").production
    assert there is not None
    run = next(step for step in jobs("check")["containers"]["steps"] if "smoke.sh" in step.get("run", ""))["run"]
    assert f"smoke.sh https://{there.domain}:{there.https.rpartition(':')[2]} --insecure" in run
    assert f"127.0.0.1 {there.domain}'" in run


def test_renovate_reads_the_names_of_images_where_they_stand():
    settings = json.loads((ROOT / ".github/renovate.json").read_text())
    [manager] = settings["customManagers"]
    pattern = manager["matchStrings"][0].replace("(?<", "(?P<")
    found = re.findall(pattern, (ROOT / "compose/images.py").read_text())
    assert ("redis", IMAGES["redis"].partition(":")[2], "") in found
    assert len(found) >= 6


def test_zizmor_finds_nothing():
    """It knows what has gone wrong with workflows elsewhere."""
    program = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [program, "--offline", "--no-progress", ROOT / ".github"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_actionlint_finds_nothing():
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not on PATH (go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)")
    done = subprocess.run([program, *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
