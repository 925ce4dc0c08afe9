"""`cluster-ai render`: write the configuration files of the stack."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from provisioning.checked import load_checked
from provisioning.config.load import ConfigError
from provisioning.config.model import Config
from provisioning.config.options import config_option
from provisioning.render import Places, RenderError
from provisioning.render import render as write_all
from provisioning.render.production_places import in_containers

RENDERED = "rendered"
Where = Literal["processes", "containers"]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write into; made if missing.")
@config_option()
@click.option(
    "--for",
    "where",
    type=click.Choice(["processes", "containers"]),
    default="processes",
    show_default=True,
    help="Where the stack runs. For containers the folder of cluster-ai.yml is the installation, OUT its `rendered`, "
    "and two files say what each container is given.",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where Grafana keeps its database.  [OUT/data]")
@click.option("--secrets-dir", type=click.Path(path_type=Path), help="Where Grafana's secrets lie.  [OUT/secrets]")
def render(out: Path | None, config: Path, where: Where, data_dir: Path | None, secrets_dir: Path | None) -> None:
    """Write the configuration of Prometheus, Alertmanager, Grafana and what else the stack is made of.

    Files that would not change are left alone, and files that were not written by this command are never replaced.
    Secrets are not written: the files name the paths where they lie. `cluster-ai up` and `cluster-ai deploy up` do all
    this by themselves.
    """
    folder = config.absolute().parent
    if where == "containers":
        _refuse(out=out, data_dir=data_dir, secrets_dir=secrets_dir)
        out = folder / RENDERED
    elif out is None:
        raise click.UsageError("Missing option '--out'.")
    try:
        loaded = load_checked(config).config
        places = _beside(out, data_dir, secrets_dir)
        if where == "containers":
            loaded, places = in_containers(loaded, folder)
        changed = write_all(loaded, out, places=places, source=str(config))
    except (ConfigError, RenderError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    _tell(changed, out, places, loaded)


def _refuse(**given: Path | None) -> None:
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} has no meaning with --for containers.")


def _beside(out: Path, data_dir: Path | None, secrets_dir: Path | None) -> Places:
    return Places(data=(data_dir or out / "data").absolute(), secrets=(secrets_dir or out / "secrets").absolute())


def _tell(changed: list[Path], out: Path, places: Places, config: Config) -> None:
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo(f"nothing to change in {out}")
    if places.installation is not None and config.production is not None:
        return  # `secrets init` makes them all
    for path in (places.grafana_admin_password, places.grafana_secret_key):
        if not path.exists():
            click.echo(f"Grafana needs the file {path} before its first start: one random line, mode 600")
