"""`cluster-ai exporter`: serve the metrics of everything in cluster-ai.yml."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import click

from exporter import logs
from exporter.door.crowd import want_descriptors
from exporter.door.guard import MAX_REQUESTS
from exporter.door.listen import Address, NoSocketsError, address, systemd_sockets
from exporter.door.settings import WebSettings
from exporter.flags import Flags, leave_no_core
from exporter.serving import serve
from exporter.shard import Shard
from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config

_flag = Flags("CLUSTER_AI_EXPORTER")


def _shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Shard | None:
    try:
        return None if value is None else Shard.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@_flag.config()
@_flag(
    "--config.check",
    "only_check",
    is_flag=True,
    help="Say whether the configuration and the web configuration are good, and end.",
)
@_flag.listen("Where to serve; may be given more than once. Default: services.exporter of the configuration.")
@_flag("--web.systemd-socket", "systemd", is_flag=True, help="Serve on the sockets that systemd hands over instead.")
@_flag.web_config(
    "TLS and passwords, in the format of Prometheus's exporter-toolkit; followed when it changes. Default: "
    "exporter.web_config_file of the configuration."
)
@_flag(
    "--web.max-requests",
    "max_requests",
    type=click.IntRange(min=0),
    default=MAX_REQUESTS,
    show_default=True,
    help="Most scrapes at once, more are refused with 503; 0 for any number.",
)
@_flag(
    "--shard",
    metavar="K/N",
    callback=_shard,
    help="Watch the K-th of N equal parts of the targets; run N exporters with the same file.",
)
@_flag(
    "--alertmanager.address",
    "alertmanager",
    metavar="HOST:PORT",
    help="Which Alertmanager to ask what is acknowledged. Default: services.alertmanager of the configuration.",
)
@_flag.logs()
def exporter(
    *,
    file: Path,
    only_check: bool,
    addresses: tuple[Address, ...],
    systemd: bool,
    web_file: Path | None,
    max_requests: int,
    shard: Shard | None,
    alertmanager: str | None,
    level: str,
    form: logs.Form,
) -> None:
    """Serve the metrics of every target in cluster-ai.yml to Prometheus.

    A flag counts before its environment variable, and that before the file. POST /-/reload or SIGHUP reads the
    file again; a broken file is reported and the old configuration stays in use.
    """
    logs.setup(level, form)
    leave_no_core()
    want_descriptors()
    try:
        config = load(file)
        fixed = _fixed(web_file, addresses or systemd, shard, alertmanager)
        web_file = web_file or config.exporter.web_config_file
        settings = WebSettings(web_file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if only_check:
        click.echo(f"{file}: ok" if web_file is None else f"{file}: ok\n{web_file}: ok")
        return
    where: tuple[Address | socket.socket, ...] = addresses or (address(_listen(config, shard)),)
    try:
        asyncio.run(
            serve(
                file,
                config,
                settings,
                addresses=tuple(systemd_sockets()) if systemd else where,
                max_requests=max_requests,
                shard=shard,
                alertmanager=alertmanager,
                fixed=fixed,
            )
        )
    except NoSocketsError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot serve: {error.strerror or error}") from None


def _fixed(web_file: Path | None, where: object, shard: Shard | None, alertmanager: str | None) -> list[str]:
    """The keys of the file that count at the start alone: those that no flag stands in for."""
    keys = {
        "exporter.web_config_file": web_file is None,
        "services.alertmanager": alertmanager is None,
        "services.exporter": not where and shard is None,
        "services.exporter_shards": not where and shard is not None,
    }
    return [key for key, counts in keys.items() if counts]


def _listen(config: Config, shard: Shard | None) -> str:
    """Where the configuration says that this exporter serves."""
    shards = config.services.exporter_shards
    if shard is None or not shards:
        return config.services.exporter
    if len(shards) != shard.count:
        raise click.ClickException(
            f"--shard {shard} is one of {shard.count} exporters, but services.exporter_shards lists {len(shards)}"
        )
    return shards[shard.index - 1]
