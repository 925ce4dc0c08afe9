"""`cluster-ai deploy`: the stack in containers on this host."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from compose.deploy import engine, preparing, restoring
from compose.deploy.findings import Finding, findings
from compose.deploy.preparing import Host, PrepareError
from provisioning.config.command import command as own_name
from provisioning.config.options import config_option, saying_why

_FAILED, _NOTHING_RUNS = 1, 3

_config = config_option("The cluster-ai.yml; secrets, data and backups lie beside it.")


@click.group()
def deploy() -> None:
    """Run the stack in containers on this host, behind nginx where the file has `production`.

    Without `production` it is the stack of those who change this project, on loopback.
    """


@deploy.command()
@_config
def check(config: Path) -> None:
    """Say what is unsafe or will not work on this host, before anything starts.

    Each finding is one line: error or warning, what it is, and what to do. Exit code 0 when nothing keeps the stack
    from starting, 1 when something does.
    """
    with saying_why(PrepareError, engine.EngineError):
        sys.exit(_tell(_findings(preparing.host(config))))


@deploy.command()
@_config
@click.option("--wait", default=600, show_default=True, metavar="SECONDS", help="Longest wait for all to be healthy.")
def up(config: Path, wait: int) -> None:
    """Make what is missing, look at this host, start or change what must be, and wait until all is healthy.

    That is: secrets and folders, rendered files, `deploy check`, containers, people and folders in Grafana. A second
    time it changes only what changed in cluster-ai.yml, in secrets, or by a new version.
    """
    with saying_why(PrepareError, engine.EngineError):
        sys.exit(_up(config, wait))


@deploy.command()
@click.argument("backup", type=click.Path(path_type=Path, dir_okay=False))
@_config
@click.option(
    "--identity",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the key that opens it.  [secrets/backup-identity, if it is here]",
)
@click.option("--overwrite", is_flag=True, help="Also what is here with other contents.")
@click.option("--wait", default=600, show_default=True, metavar="SECONDS", help="Longest wait for all to be healthy.")
def restore(backup: Path, config: Path, identity: Path | None, wait: int, *, overwrite: bool) -> None:
    """Bring an installation back from a BACKUP, on an empty machine or on this one, and start it.

    First the files and secrets, then PostgreSQL alone, then what was in it, then everything. Stop what runs before:
    `deploy down`.
    """
    with saying_why(PrepareError, engine.EngineError):
        restoring.restore(config, backup, identity, click.echo, overwrite=overwrite)
        sys.exit(_up(config, wait))


@deploy.command()
@_config
def down(config: Path) -> None:
    """Stop and remove the containers. Everything that lasts is in the folder and stays."""
    with saying_why(PrepareError, engine.EngineError):
        there = _rendered(config)
        sys.exit(engine.run([*there.compose, "--profile", "*", "down", "--remove-orphans"]))


@deploy.command()
@_config
def status(config: Path) -> None:
    """Show each container.

    Exit code 0 when all are well, 1 when one is not, 3 when none is there.
    """
    with saying_why(PrepareError, engine.EngineError):
        there = preparing.host(config)
        if not there.rendered:
            click.echo(_nothing_is_rendered(), err=True)
            sys.exit(_NOTHING_RUNS)
        rows = engine.containers(there.compose)
        if not rows:
            click.echo(f"nothing runs; `{own_name()} deploy up` starts it", err=True)
            sys.exit(_NOTHING_RUNS)
        click.echo(f"{'SERVICE':<20}{'STATE':<12}HEALTH")
        for row in rows:
            click.echo(f"{row.service:<20}{row.state:<12}{row.health}")
        sys.exit(0 if all(row.well for row in rows) else _FAILED)


@deploy.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_config
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True)
def compose(config: Path, arguments: Sequence[str]) -> None:
    """Call `docker compose` for this installation: `deploy compose logs nginx`, `deploy compose restart redis`."""
    with saying_why(PrepareError, engine.EngineError):
        sys.exit(engine.run([*_rendered(config).compose, *arguments]))


def _rendered(config: Path) -> Host:
    """Raises PrepareError before the first `up`."""
    there = preparing.host(config)
    if not there.rendered:
        raise PrepareError(_nothing_is_rendered())
    return there


def _nothing_is_rendered() -> str:
    return f"nothing is rendered; `{own_name()} deploy up` does that, and starts it"


def _up(config: Path, wait: int) -> int:
    there = preparing.host(config)
    for line in preparing.prepare(there):
        click.echo(line)
    if _tell(_findings(there)):
        return _FAILED
    start = there.compose
    stale = preparing.stale(there)
    if stale is not None:  # certbot would write it again; no profile asks for it, so `up` leaves it as it is
        engine.run([*start, "--profile", "acme", "rm", "--stop", "--force", "certbot"])
        stale.unlink(missing_ok=True)
        click.echo(f"removed {stale}")
    if engine.run([*start, "up", "--detach", "--wait", "--wait-timeout", str(wait), "--remove-orphans"]):
        click.echo(f"not all is well: `{own_name()} deploy status` says what", err=True)
        return _FAILED
    return _people(there) if there.production else 0


def _findings(there: Host) -> list[Finding]:
    return findings(there.config, preparing.facts(there))


def _tell(found: Sequence[Finding]) -> int:
    for finding in found:
        click.echo(str(finding), err=finding.fatal)
    fatal = sum(finding.fatal for finding in found)
    if not fatal:
        click.echo("nothing on this host keeps the stack from starting")
    return _FAILED if fatal else 0


def _people(there: Host) -> int:
    """Brings people, teams and folders into Grafana, from a container that reaches it."""
    applied = ["grafana", "apply", "--config", str(there.file), "--url", "http://grafana-1:3000"]
    password = ["--password-file", str(there.folder / "secrets/grafana-admin-password")]
    terminal = [] if sys.stdout.isatty() else ["--no-TTY"]
    return engine.run([*there.compose, "run", "--rm", *terminal, "admin", *applied, *password])
