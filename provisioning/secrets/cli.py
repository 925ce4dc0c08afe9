"""`cluster-ai secrets`: the passwords, tokens and keys of a production installation."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from provisioning.config.options import config_option, saying_why
from provisioning.secrets import looking, making, rotating
from provisioning.secrets.installation import NotProductionError, installation
from provisioning.secrets.names import ADMIN_PASSWORD, OPERATOR_KEY

_FAILED = 1
_config = config_option("The cluster-ai.yml; secrets lie in `secrets` beside it.")


@click.group()
def secrets() -> None:
    """Make, look at and replace the passwords of a production installation. None is ever shown."""


@secrets.command()
@_config
def init(config: Path) -> None:
    """Make every password, token and key that is missing, readable by you alone.

    What is there is kept. Without `production.backup.recipient` a key of yours is made, which opens every backup: the
    command says where it is, and you take it away from this host.
    """
    with saying_why(NotProductionError, making.SecretsError):
        there = installation(config)
        made = making.init(there)
        for path in made:
            click.echo(f"made {path}")
        if not made:
            click.echo(f"nothing to make in {there.secrets}")
        if there.places.grafana_admin_password in made:
            click.echo(f"Grafana's administrator is admin; the first password is in {there.secrets / ADMIN_PASSWORD}")
        operator = there.secrets / OPERATOR_KEY
        if operator.exists():
            click.echo(
                f"Take {operator} to where you keep keys, and remove it here: without it no backup can be opened when "
                "this host is lost."
            )


@secrets.command("list")
@_config
def show(config: Path) -> None:
    """Say which secrets are there, how old they are, and what is wrong with them.

    Exit code 0 when all is well, 1 when something is missing, weak, or open to others.
    """
    with saying_why(NotProductionError, making.SecretsError):
        there = installation(config)
        rows = looking.look(there)
        width = max(len(row.name) for row in rows) + 2
        click.echo(f"{'SECRET':<{width}}{'AGE':<8}STATE")
        for row in rows:
            age = "" if row.days is None else f"{row.days} d"
            state = row.problem or (f"ok; {row.note}" if row.note else "ok")
            click.echo(f"{row.name:<{width}}{age:<8}{state}  ({row.purpose})")
        problem = looking.folder_problem(there)
        if problem:
            click.echo(problem, err=True)
        if problem or any(row.problem for row in rows):
            sys.exit(_FAILED)


@secrets.command()
@click.argument("name")
@_config
@click.option(
    "--postgres", metavar="HOST:PORT", help="Where PostgreSQL answers.  [postgres:5432, as in the containers]"
)
@click.option("--redis", metavar="HOST:PORT", help="Where Redis answers.  [redis:6379]")
@click.option("--grafana", metavar="URL", help="Where a Grafana answers.  [http://grafana-1:3000]")
@click.option("--finish", is_flag=True, help="End the time in which Redis takes the old password, too.")
def rotate(
    name: str, config: Path, postgres: str | None, redis: str | None, grafana: str | None, *, finish: bool
) -> None:
    """Replace the secret NAME, and say what must be started again, in which order.

    Whoever checks the secret learns the new one before it takes the old one's place, so that a run that was
    interrupted is finished by the next. Nobody who is signed in to Grafana is signed out. Where all runs in
    containers: `cluster-ai deploy compose run --rm admin secrets rotate NAME`.
    """
    with saying_why(NotProductionError, making.SecretsError):
        there = installation(config, postgres=postgres, redis=redis)
        left = rotating.rotate(there, name, grafana=grafana or f"http://{there.parts.grafanas[0]}", finish=finish)
        click.echo(f"{name} is {'the only one taken' if finish else 'replaced'}")
        for line in left:
            click.echo(line)
