"""The command `cluster-ai dashboards`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.group()
def dashboards() -> None:
    """Work on Grafana's pages."""


@dashboards.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when a file is not what the code gives.")
def build(*, check: bool) -> None:
    """Write the pages' JSON from their code, into dashboards/json.

    For those who change the pages. `cluster-ai up` and `cluster-ai render` make their own, with your thresholds.
    """
    from dashboards.build import stale, write  # noqa: PLC0415 -- `--help` stays quick

    for path in stale() if check else write():
        click.echo(f"{'not up to date:' if check else 'wrote'} {_shown(path)}")
    if check and stale():
        click.echo("run `cluster-ai dashboards build` and commit what it writes", err=True)
        sys.exit(1)


def _shown(path: Path) -> str:
    return os.path.relpath(path)
