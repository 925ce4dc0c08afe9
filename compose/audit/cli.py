"""`cluster-ai audit`: the audit trail, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from compose.audit.reading import Event, read
from provisioning.config.options import config_option
from provisioning.config.problems import printable

_FAILED = 1
_FOLDER = Path("data/nginx")
_LOGS = ("attempts.json", "audit.json")


@click.command()
@click.argument("logs", metavar="[LOGFILE]...", nargs=-1, type=click.Path(allow_dash=True))
@config_option("Without LOGFILE: the cluster-ai.yml beside which data/nginx lies.")
@click.option("--json", "as_json", is_flag=True, help="For programs: an object on each line.")
@click.option(
    "--names",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What Grafana's /api/org/users answers: people are then told by their login instead of as user:7.",
)
def audit(logs: tuple[str, ...], config: Path, names: Path | None, *, as_json: bool) -> None:
    """Tell out of nginx's log who signed in, and who changed people, rights, silences, folders and pages.

    LOGFILE is data/nginx/audit.json of the installation, which has what was done, or attempts.json, which has what
    strangers tried, or one of the older ones beside them; - reads standard input. Both are read when none is named.
    The oldest comes first. Times are UTC. What was refused is told, too; what came too fast is only counted, elsewhere.
    """
    try:
        found = read(_every_line(logs or _of_installation(config.parent)), _logins(names) if names else None)
    except (OSError, ValueError) as error:
        click.echo(printable(str(error)), err=True)
        sys.exit(_FAILED)
    for event in found.events:
        click.echo(json.dumps(_as_data(event)) if as_json else _as_text(event))
    if found.unreadable:
        click.echo(f"{found.unreadable} lines are not of nginx's log or not whole", err=True)


def _of_installation(folder: Path) -> tuple[str, ...]:
    """An installation of before `attempts.json` has the other alone."""
    logs = [folder / _FOLDER / name for name in _LOGS]
    return tuple(str(log) for log in logs if log.exists()) or (str(logs[-1]),)


def _every_line(logs: tuple[str, ...]) -> Iterator[bytes]:
    for name in logs:
        with click.open_file(name, "rb") as file:
            yield from file


def _logins(file: Path) -> dict[str, str]:
    """Raises ValueError when the file is another."""
    try:
        return {f"user:{user['userId']}": str(user["login"]) for user in json.loads(file.read_text())}
    except (ValueError, TypeError, LookupError):
        raise ValueError(f"{file} is not what Grafana's /api/org/users answers") from None


def _as_text(event: Event) -> str:
    outcome = "" if event.outcome == "done" else f" ({event.outcome}, {event.status})"
    text = f"{event.time:%Y-%m-%d %H:%M:%S}  {event.address:<15}  {event.who}: {event.did}{outcome}"
    return printable(text)


def _as_data(event: Event) -> dict[str, Any]:
    return {
        "time": f"{event.time:%Y-%m-%dT%H:%M:%SZ}",
        "who": event.who,
        "address": event.address,
        "kind": event.kind,
        "did": event.did,
        "outcome": event.outcome,
        "status": event.status,
    }
