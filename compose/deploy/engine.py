"""Docker and Compose, as the commands of `deploy` call them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import compose
from provisioning.render.containers import OVERLAY, VARIABLES

_FILES = Path(compose.__file__).parent
_PATIENCE = 30  # s, for a question to the engine


class EngineError(Exception):
    """Docker could not do it; `str()` says why in one line."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What is there; empty where it is not."""

    engine: str = ""
    compose: str = ""
    root: str = ""
    """The folder with images and containers."""
    why: str = ""
    """What the engine said in place of an answer."""


@dataclass(frozen=True, slots=True)
class Container:
    """One service that is there."""

    service: str
    state: str
    health: str

    @property
    def well(self) -> bool:
        """Whether it does its work."""
        return self.state == "running" and self.health in {"healthy", ""}


def command(folder: Path, *, production: bool, rendered: bool = True) -> list[str]:
    """What every call of Compose for this installation begins with; without what is rendered where that is not yet."""
    kind = "prod" if production else "dev"
    files = [_FILES / "docker-compose.yml", _FILES / f"docker-compose.{kind}.yml"]
    variables = []
    if rendered:
        files.append(folder / "rendered" / OVERLAY)
        variables = ["--env-file", str(folder / "rendered" / VARIABLES)]
    return ["docker", "compose", *variables, *(part for file in files for part in ("--file", str(file)))]


def versions() -> Versions:
    """Of the engine and of Compose."""
    try:
        found = json.loads(_asked("docker", "info", "--format", "{{json .}}"))
    except EngineError as error:
        return Versions(why=str(error))
    engine = str(found.get("ServerVersion") or "")
    root = str(found.get("DockerRootDir") or "")
    if not engine:
        return Versions(why=" ".join(found.get("ServerErrors") or ["the engine does not answer"]))
    try:
        return Versions(engine, _asked("docker", "compose", "version", "--short").strip().lstrip("v"), root)
    except EngineError as error:
        return Versions(engine, "", root, str(error))


def containers(start: Sequence[str]) -> list[Container]:
    """Every container of the installation, whatever its state. Raises EngineError."""
    return sorted(_rows(_asked(*start, "ps", "--all", "--format", "json")), key=lambda row: row.service)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """A call that people see the output of. Its status; raises EngineError where there is no Docker."""
    try:
        return subprocess.run(command, check=False, env=environment).returncode
    except OSError as error:
        raise EngineError(f"docker: {error.strerror}") from None


def _rows(text: str) -> Iterator[Container]:
    for line in text.splitlines():
        row = json.loads(line)
        yield Container(row["Service"], row["State"], row["Health"])


def _asked(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except FileNotFoundError:
        raise EngineError("there is no `docker` on PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(str(error)) from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise EngineError(said[-1].strip())
    return done.stdout
