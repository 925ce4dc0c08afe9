"""`pip install .`, `pip install -e .` and the wheel each give a working `cluster-ai`, without the network.

Each goes into an empty environment that sees the packages of this one, but not this one's own installation of the
product.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("exporter", "dashboards", "alert_rules", "provisioning", "compose")
Run = Callable[..., str]


def run(*command: str | Path, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        command, cwd=cwd, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that is installed here, but for the product."""
    folder = tmp_path_factory.mktemp("dependencies")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("cluster_ai_dashboard", "_editable_impl", "__pycache__")):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def python(tmp_path: Path, dependencies: Path) -> Path:
    """An empty environment's interpreter."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    packages = home / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return home / "bin/python"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def install(python: Path, *what: str | Path) -> None:
    pip = (python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--disable-pip-version-check", *what, cwd=python.parent)


def works_from(python: Path, home: Path) -> None:
    """The installed command runs, and with the code that was meant."""
    elsewhere = home / "elsewhere" if home != ROOT else python.parent
    elsewhere.mkdir(exist_ok=True)
    command = python.with_name("cluster-ai")
    assert run(command, "--version", cwd=elsewhere) == f"cluster-ai {version('cluster-ai-dashboard')}\n"
    example = ROOT / "provisioning/example.yml"
    assert f"{example}: ok, 5 targets" in run(command, "check", example, cwd=elsewhere)
    assert "exporter" in run(command, "--help", cwd=elsewhere)
    run(command, "render", "--out", elsewhere / "out", "--config", example, cwd=elsewhere)
    files = f"import {', '.join(ROOMS)}; print(*(room.__file__ for room in ({', '.join(ROOMS)})))"
    for file in run(python, "-c", files, cwd=elsewhere).split():
        assert Path(file).is_relative_to(home)


def test_pip_install_of_the_folder(python: Path, tmp_path: Path) -> None:
    install(python, ROOT)
    works_from(python, tmp_path)


def test_pip_install_editable(python: Path) -> None:
    install(python, "-e", ROOT)
    works_from(python, ROOT)


def test_pip_install_of_the_wheel(python: Path, wheel: Path, tmp_path: Path) -> None:
    install(python, wheel)
    works_from(python, tmp_path)


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(wheel: Path) -> None:
    ours = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "provisioning/render/templates/grafana.ini.j2" in held
    assert held == ours
