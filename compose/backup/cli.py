"""`cluster-ai backup`: encrypted backups of a production installation, tested by being restored."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import click

from compose.backup import restoring, state, work
from compose.backup.daemon import Daemon
from compose.backup.making import FOLDER
from compose.backup.manifest import BackupError, backups
from provisioning.config.options import config_option, saying_why
from provisioning.secrets.installation import NotProductionError, installation
from provisioning.secrets.names import IDENTITY

_FILE = click.Path(path_type=Path, dir_okay=False)
_config = config_option("The cluster-ai.yml; `backups`, `secrets` and `data` lie beside it.")
_postgres = click.option(
    "--postgres", metavar="HOST:PORT", help="Where PostgreSQL answers.  [postgres:5432, as in the containers]"
)


@click.group()
def backup() -> None:
    """Back up the database, keys, silences and configuration of a production installation, and restore them."""


@backup.command()
@_config
@_postgres
def now(config: Path, postgres: str | None) -> None:
    """Make a backup now, encrypted for this host and for you.

    Nothing of it is seen until it is whole. Superfluous ones go, as `production.backup` says.
    """
    with saying_why(BackupError, NotProductionError):
        work.backup(installation(config, postgres=postgres), datetime.now(UTC), click.echo)


@backup.command("list")
@_config
def show(config: Path) -> None:
    """Show the backups that are here, and which was restored last as a test."""
    with saying_why(BackupError, NotProductionError):
        there = installation(config)
        known = state.load(there)
        found = backups(there.folder / FOLDER)
        for path, made in found.items():
            tested = "restored as a test, and good" if path.name == known.proven else ""
            click.echo(
                f"{path.name}  {made:%Y-%m-%d %H:%M} UTC  {path.stat().st_size / 1e6:8.1f} MB  {tested}".rstrip()
            )
        if not found:
            click.echo(f"no backup in {there.folder / FOLDER}")
        if known.verified and not known.well:
            click.echo("the newest one was not good when it was tested; `cluster-ai backup verify` says why")


@backup.command()
@_config
@_postgres
def verify(config: Path, postgres: str | None) -> None:
    """Restore the newest backup into a scratch database and compare its contents with what was saved.

    Exit code 1 when it cannot be opened, is damaged, or holds something else. The scratch database goes in any case.
    """
    with saying_why(BackupError, NotProductionError):
        work.verify(installation(config, postgres=postgres), datetime.now(UTC), click.echo)


@backup.command()
@_config
@_postgres
def run(config: Path, postgres: str | None) -> None:
    """Make a backup every night and test the newest every week, until told to end.

    What was missed while this did not run is caught up at once.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with saying_why(BackupError, NotProductionError):
        Daemon(installation(config, postgres=postgres)).run()


@backup.command()
@click.argument("file", type=_FILE)
@_config
@_postgres
@click.option(
    "--identity", type=_FILE, help="File with the key that opens it.  [secrets/backup-identity, if it is here]"
)
@click.option("--only", type=click.Choice(["files", "database"]), help="One half; the files come first.")
@click.option("--overwrite", is_flag=True, help="Also what is here with other contents.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--patience", default=300.0, show_default=True, help="Seconds to wait for PostgreSQL to answer.")
def restore(
    *,
    file: Path,
    config: Path,
    postgres: str | None,
    identity: Path | None,
    only: str | None,
    overwrite: bool,
    dry_run: bool,
    patience: float,
) -> None:
    """Bring an installation back from the backup FILE, on an empty machine or on this one.

    First cluster-ai.yml with the files that it names, all secrets and Alertmanager's silences, into the folder of
    --config; then, once PostgreSQL answers, the database. Nothing that is there is overwritten unless you say so, and
    nothing at all is changed by a backup that is damaged. Alertmanager should not run meanwhile.
    """
    with saying_why(BackupError, NotProductionError):
        folder = config.absolute().parent
        key = identity or folder / "secrets" / IDENTITY
        how: dict[str, bool] = {"overwrite": overwrite, "dry_run": dry_run}
        if only != "database":
            restoring.files(file, key, folder, say=click.echo, **how)
        if only != "files" and not (dry_run and not config.exists()):
            there = installation(config, postgres=postgres)
            restoring.grafana(there, file, key, patience=patience, say=click.echo, **how)
