"""The command `cluster-ai`: joins the rooms' commands, each loaded only when it is used."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import click

from provisioning.config.model import Config
from provisioning.config.options import DEFAULT_FILE
from provisioning.config.targets import SYSTEMS

# Command, and the room that brings it. Loading a room takes longer than checking a file.
ROOMS = {
    "init": "provisioning.init.cli",
    **dict.fromkeys(("up", "status", "logs", "down"), "compose.cli"),
    "deploy": "compose.deploy.cli",
    "certificates": "compose.certificates.cli",
    "audit": "compose.audit.cli",
    "render": "provisioning.render.cli",
    "doctor": "exporter.doctor.cli",
    "exporter": "exporter.cli",
    "proxy": "exporter.proxy.cli",
    "alerts": "alert_rules.cli",
    "sms-bridge": "alert_rules.bridge.cli",
    "dashboards": "dashboards.cli",
    "grafana": "provisioning.grafana.cli",
    "secrets": "provisioning.secrets.cli",
    "backup": "compose.backup.cli",
}


class Rooms(click.Group):
    """A group whose commands live in the rooms' own modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order in which one meets them."""
        return [*ROOMS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in ROOMS:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(ROOMS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)  # noqa: S101 -- a room's promise, for the type checker
        return command


@click.group(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("cluster-ai-dashboard"), message="%(prog)s %(version)s")
def main() -> None:
    """Watch your own AI cluster: Dask, Ollama and Open WebUI in Prometheus and Grafana.

    `cluster-ai up` starts everything on this machine; without a cluster-ai.yml it shows a demonstration.
    To watch your own systems, write a cluster-ai.yml (`cluster-ai init` begins one), check it with
    `cluster-ai check`, run `up` again, and ask `cluster-ai doctor` what is still in the way.
    """


@main.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_FILE)
def check(file: Path) -> None:
    """Say whether FILE is a good cluster-ai.yml, and what to mend.

    Each problem is one line: FILE:LINE: KEY: what is wrong; what was meant. Warnings (a secret that is not there,
    people whom nothing tells) do not keep the stack from starting. Exit code 0 when the file is good, 1 when not.
    """
    from provisioning.checked import load_checked  # noqa: PLC0415 -- `--help` stays quick
    from provisioning.config.load import ConfigError  # noqa: PLC0415

    try:
        loaded = load_checked(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        click.echo(f"{file}: {_count(len(error.problems), 'problem')}", err=True)
        sys.exit(1)
    for warning in loaded.warnings:
        click.echo(warning.text(file, "warning"))
    noted = f", {_count(len(loaded.warnings), 'warning')}" if loaded.warnings else ""
    click.echo(f"{file}: ok, {summary(loaded.config)}{noted}")


@main.command()
def schema() -> None:
    """Print the JSON Schema of cluster-ai.yml, for your editor.

    Save it and begin the file with: # yaml-language-server: $schema=FILE
    """
    from provisioning.config.schema import schema as of_config  # noqa: PLC0415

    click.echo(json.dumps(of_config(), indent=2))


def summary(config: Config) -> str:
    """`3 targets (2 dask, 1 ollama), 1 host`."""
    counts = Counter({system: len(getattr(config.targets, system)) for system in SYSTEMS})
    kinds = ", ".join(f"{count} {system}" for system, count in counts.items() if count)
    hosts = len(config.targets.hosts)
    text = _count(counts.total(), "target") + (f" ({kinds})" if kinds else "")
    return f"{text}, {_count(hosts, 'host')}" if hosts else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    main()
