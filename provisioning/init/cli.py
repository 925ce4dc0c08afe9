"""`cluster-ai init`: looks at what answers and begins a cluster-ai.yml."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from exporter.discover import USUAL_PORTS, Look, What, bracketed, look_around
from exporter.errors import Reason
from provisioning.config.addresses import scheduler_url
from provisioning.config.command import command
from provisioning.config.hosts import LOOPBACK
from provisioning.config.options import DEFAULT_FILE
from provisioning.config.problems import printable
from provisioning.init.first_file import Machine, text

HERE = "127.0.0.1"
SECONDS = 2.0  # a question
_USUAL = {
    What.DASK: "Dask",
    What.DASK_DASHBOARD: "Dask's dashboard",
    What.OLLAMA: "Ollama",
    What.OPENWEBUI: "Open WebUI",
    What.NODE_EXPORTER: "node_exporter",
    What.GPU_EXPORTER: "a GPU exporter",
}
_WRITTEN = frozenset({What.DASK, What.OLLAMA, What.OPENWEBUI, What.NODE_EXPORTER, What.GPU_EXPORTER})


@click.command()
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_FILE,
    show_default=True,
    help="The file to write; one that is there is never replaced.",
)
def init(hosts: tuple[str, ...], out: Path) -> None:
    """Begin a cluster-ai.yml with what answers on this machine and on each HOST.

    Looks at the ports where Dask, Ollama, Open WebUI, node_exporter and GPU exporters usually listen, on these
    machines and no others, and writes down only what answers as itself. No credentials are sent.

    Exit code 0 when the file was written, 1 when not.
    """
    if out.exists() or out.is_symlink():
        _give_up(f"{out} is there already and is left as it is; give another name with --out")
    others = [host for host in dict.fromkeys(map(_host, hosts)) if host.lower() not in LOOPBACK]
    looks = asyncio.run(look_around([HERE, *others], SECONDS))
    machines = []
    for host in (HERE, *others):
        seen = [look for look in looks if look.host == host]
        click.echo(_told(host, seen))
        machines.append(Machine("" if host == HERE else host, [look.service for look in seen if look.service]))
    content = text(machines, socket.gethostname())
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        _give_up(f"cannot write {out}: {error.strerror}")
    own = command()
    click.echo(f"\nwrote {out}; read it, then run: {own} check {out} && {own} doctor --config {out}")


def _host(value: str) -> str:
    """A host name or address as given, if it is one and nothing more."""
    try:
        scheduler_url(f"tcp://{bracketed(value.strip('[]'))}:8786")
    except ValueError:
        what = "is not one host; give a name or an address, without port, and each host by itself"
        raise click.UsageError(f"{printable(value)} {what}") from None
    return value.strip("[]")


def _told(host: str, looks: Iterable[Look]) -> str:
    """What was found on a machine and what was not."""
    lines = ["this machine" if host == HERE else host]
    silent: dict[str, list[str]] = {}
    for look in looks:
        if look.failure is Reason.DNS:
            return f"{lines[0]}\n  is a host name nobody knows"
        if look.service is None:
            silent.setdefault(_USUAL[USUAL_PORTS[look.port]], []).append(str(look.port))
        else:
            lines.append(f"  {look.port}: {_found(look)}")
    if silent:
        lines.append(f"  nothing at {', '.join(f'{_or(ports)} ({what})' for what, ports in silent.items())}")
    return "\n".join(lines)


def _found(look: Look) -> str:
    service = look.service
    assert service is not None  # noqa: S101 -- the caller looked
    if service.wants_tls:
        return "wants TLS, as secured Dask schedulers do; see the comment in the file"
    note = "" if service.what in _WRITTEN else ", not written"
    return f"{service.what}{note}"


def _or(ports: list[str]) -> str:
    return " and ".join(ports)


def _give_up(words: str) -> None:
    click.echo(words, err=True)
    sys.exit(1)
