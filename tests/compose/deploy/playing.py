"""A `docker` that writes down how it was called, and our commands beside it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from provisioning.cli import main

DOCKER = """\
#!/bin/sh
echo "$@" >> {calls}
case "$*" in
  "info --format {{{{json .}}}}") echo '{info}' ;;
  "compose version --short") echo 2.36.0 ;;
  *"ps --all --format json") cat {rows} ;;
  *) exit {status} ;;
esac
"""
INFO = json.dumps({"ServerVersion": "28.2.2", "DockerRootDir": "/"})


class Docker:
    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.rows = folder / "rows"
        self.rows.write_text("")
        self.program = folder / "docker"
        self.will()

    def will(self, *, info: str = INFO, status: int = 0) -> None:
        text = DOCKER.format(calls=self.calls, info=info, rows=self.rows, status=status)
        self.program.write_text(text)
        self.program.chmod(0o755)

    def runs(self, *containers: tuple[str, str, str]) -> None:
        lines = [json.dumps({"Service": name, "State": state, "Health": health}) for name, state, health in containers]
        self.rows.write_text("".join(f"{line}\n" for line in lines))

    def asked(self, what: str) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if what in line]


def deploy(file: Path, *arguments: str) -> Result:
    name, *rest = arguments
    return CliRunner().invoke(main, ["deploy", name, "--config", str(file), *rest])
