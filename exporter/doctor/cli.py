"""`cluster-ai doctor`: what makes monitoring fail or mislead, and how to mend it."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from exporter.doctor.examine import examine
from exporter.doctor.findings import kinds
from exporter.doctor.report import as_json, as_text, exit_code
from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config
from provisioning.config.options import config_option
from provisioning.config.problems import printable


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@config_option(name="file")
@click.option("--json", "json_", is_flag=True, help="Print JSON for scripts; its shape stays the same.")
@click.option("--ignore", multiple=True, metavar="ID", help="Leave findings of this id out. May be repeated.")
def doctor(targets: tuple[str, ...], file: Path, json_: bool, ignore: tuple[str, ...]) -> None:  # noqa: FBT001
    """Look at each TARGET, or all, and say what makes monitoring fail or mislead.

    Only asks, never changes a target. Run it where the exporter runs: what it can reach is what the exporter can
    reach.

    Exit code 0 when nothing was found (notes do not count), 1 with warnings (it misleads or is unsafe), 2 with errors
    (monitoring fails), also when the file cannot be used. Every finding is explained in docs/doctor.md.
    """
    # The collectors log what the findings say in better words.
    logging.getLogger("exporter").addHandler(logging.NullHandler())
    config = _config(file)
    _refuse_unknown(config, targets, ignore)
    reports = asyncio.run(examine(config, targets))
    for report in reports:
        report.findings = [finding for finding in report.findings if finding.id not in ignore]
    click.echo(as_json(reports, str(file)) if json_ else as_text(reports))
    sys.exit(exit_code(reports))


def _config(file: Path) -> Config:
    try:
        return load(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def _refuse_unknown(config: Config, targets: tuple[str, ...], ignore: tuple[str, ...]) -> None:
    every = config.targets
    known = [target.name for kind in (every.dask, every.ollama, every.openwebui, every.hosts) for target in kind]
    for name in targets:
        if name not in known:
            raise click.UsageError(f"there is no target {printable(name)}; known: {', '.join(known) or 'none'}")
    ids = {kind.id for group in kinds().values() for kind in group}
    for id in ignore:
        if id not in ids:
            raise click.UsageError(f"there is no finding {printable(id)}; docs/doctor.md lists them")
