"""The commands that run the stack on this machine: `up`, `status`, `logs`, `down`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from compose.native.places import State, default_state_dir, shown
from compose.native.stack import NAMES
from provisioning.config.command import command
from provisioning.config.load import ConfigError, load
from provisioning.config.options import DEFAULT_FILE

_NOTHING_RUNS = 3
_FAILED = 1
_CONTAINERS = Path("rendered/compose.env")
"""What `deploy up` writes beside cluster-ai.yml."""
_PORTS = range(1, 65535)  # without the last: the demo takes the port after its scheduler's too

_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept.  [$CLUSTER_AI_STATE_DIR, else ~/.local/state/cluster-ai]",
)


def _listen(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`NAME=HOST:PORT` pairs as a mapping."""
    moved = {}
    for value in values:
        name, equals, address = value.partition("=")
        host, colon, port = address.rpartition(":")
        if name not in NAMES or not (equals and colon and host and port.isdigit() and int(port) in _PORTS):
            raise click.BadParameter(f"{value!r} is not NAME=HOST:PORT with NAME one of {', '.join(NAMES)}")
        moved[name] = address
    return moved


def _service_name(_context: click.Context, _argument: click.Parameter, value: str) -> str:
    """A service, one of several exporters (`exporter-2`), or the supervisor."""
    if "state_dir" not in _context.params:
        _not_in_containers("compose logs NAME")
    if value not in (*NAMES, "supervisor") and not re.fullmatch(r"exporter-[1-9][0-9]{0,3}", value):
        raise click.BadParameter(f"{value!r} is not one of {', '.join((*NAMES, 'supervisor'))}")
    return value


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path), help="The cluster-ai.yml.  [./cluster-ai.yml; without one, the demo]"
)
@_state_dir
@click.option("--detach", is_flag=True, help="Give the terminal back once everything answers.")
@click.option(
    "--listen",
    multiple=True,
    callback=_listen,
    metavar="NAME=HOST:PORT",
    help="Let a service listen elsewhere, such as prometheus=127.0.0.1:9091; may be repeated.",
)
@click.option("--retry", is_flag=True, help="Try downloads again that failed lately.")
def up(config: Path | None, state_dir: Path | None, *, detach: bool, listen: dict[str, str], retry: bool) -> None:
    """Start the exporter, Prometheus, Alertmanager, node_exporter and Grafana on this machine.

    Without a cluster-ai.yml in this folder a demo starts: a small Dask cluster that is always at work. Each address
    is printed once it answers. Ctrl-C, or `cluster-ai down` elsewhere, ends everything; the next start finds its
    history again. Programs that are missing are fetched and unpacked, never installed.
    """
    from compose.native import prepare, start  # noqa: PLC0415 -- `--help` stays quick

    _not_in_containers("up", config or DEFAULT_FILE)
    state = _state(state_dir)
    wishes = prepare.Wishes(config=config, listen=listen, retry=retry)
    if detach:
        sys.exit(start.detached(state, wishes))
    sys.exit(start.foreground(state, lambda say: prepare.prepare(state, wishes, say)))


@click.command()
@_state_dir
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(state_dir: Path | None, *, as_json: bool) -> None:
    """Show each service and each target.

    Exit code 0 when every service runs (or is absent because this machine lacks it), 1 when one is failed or still
    starting, 3 when nothing runs.
    """
    from compose.native import report  # noqa: PLC0415

    if state_dir is None:
        _not_in_containers("status")
    seen = report.look(_state(state_dir))
    if as_json:
        click.echo(json.dumps(report.as_data(seen), indent=2))
    elif seen.running:
        click.echo(report.as_text(seen))
    if not seen.running:
        where = shown(_state(state_dir).root)
        click.echo(f"nothing runs with state in {where}; `{command()} up` starts it", err=True)
        sys.exit(_NOTHING_RUNS)
    sys.exit(0 if report.healthy(seen) else _FAILED)


@click.command()
@click.argument("name", callback=_service_name)
@_state_dir
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines as they come.")
@click.option("--lines", "-n", default=100, show_default=True, help="How many of the last lines to begin with.")
def logs(name: str, state_dir: Path | None, *, follow: bool, lines: int) -> None:
    """Show what the service NAME wrote, such as prometheus; exporter-2 is the second of several."""
    from compose.native import logs as reading  # noqa: PLC0415

    path = _state(state_dir).logs / f"{name}.log"
    if not path.exists():
        click.echo(f"{name} has written nothing yet ({shown(path)})", err=True)
        sys.exit(_FAILED)
    _quietly(lambda: reading.show(path, lines, follow=follow))


@click.command()
@_state_dir
def down(state_dir: Path | None) -> None:
    """Stop everything. Metrics, alerts and Grafana's database stay for the next `up`."""
    from compose.native import stop  # noqa: PLC0415

    if state_dir is None:
        _not_in_containers("down")
    sys.exit(stop.down(_state(state_dir), click.echo))


COMMANDS: list[click.Command] = [up, status, logs, down]


def _not_in_containers(instead: str, file: Path = DEFAULT_FILE) -> None:
    """Ends it where the stack of this file runs in containers: a second one beside it would tell everything twice."""
    if not (file.absolute().parent / _CONTAINERS).exists():
        return
    try:
        production = load(file).production
    except ConfigError:
        return
    if production is not None:
        raise click.ClickException(f"what {file} says runs in containers here: use `{command()} deploy {instead}`")


def _state(chosen: Path | None) -> State:
    """The folder to look in; one that we may not look into is no folder where nothing runs."""
    state = State((chosen or default_state_dir()).absolute())
    try:
        allowed = not state.root.exists() or os.access(state.root, os.R_OK | os.X_OK)
    except OSError:  # nor may we look into the folder that it is in
        allowed = False
    if not allowed:
        raise click.ClickException(f"{shown(state.root)} is another user's; run this as who ran `up`")
    return state


def _quietly(read: Callable[[], Any]) -> None:
    """Ctrl-C is the way to end reading, not an error."""
    try:
        read()
    except KeyboardInterrupt:
        sys.exit(130)
