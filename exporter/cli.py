"""`cluster-ai exporter`: serve the metrics of everything in cluster-ai.yml."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click
from aiohttp import web

from exporter.fleet import Fleet
from exporter.shard import Shard
from exporter.web import Exporter
from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config

log = logging.getLogger(__name__)
KEEPALIVE = 30.0  # seconds; aiohttp's hour lets half-sent requests stay open that long
SHUTDOWN = 4.0  # seconds a scrape under way has to end after SIGTERM


def _shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Shard | None:
    try:
        return None if value is None else Shard.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("cluster-ai.yml"),
    show_default=True,
    help="The configuration file.",
)
@click.option(
    "--web.listen-address",
    "addresses",
    multiple=True,
    help="Where to serve, host:port; may be given more than once. Default: services.exporter of the configuration.",
)
@click.option(
    "--shard",
    metavar="K/N",
    callback=_shard,
    help="Watch the K-th of N equal parts of the targets; run N exporters with the same file.",
)
@click.option(
    "--log.level",
    "level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least important lines to log.",
)
def exporter(file: Path, addresses: tuple[str, ...], shard: Shard | None, level: str) -> None:
    """Serve the metrics of every target in cluster-ai.yml to Prometheus.

    POST /-/reload or SIGHUP reads the file again; a broken file is reported and the old configuration stays in use.
    """
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        config = load(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    try:
        asyncio.run(serve(file, config, addresses or (_listen(config, shard),), shard))
    except OSError as error:
        raise click.ClickException(f"cannot serve: {error.strerror or error}") from None


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


async def serve(file: Path, config: Config, addresses: tuple[str, ...], shard: Shard | None = None) -> None:
    """Serve until SIGTERM or SIGINT; scrapes under way are finished."""
    fleet = Fleet(file, config, shard=shard)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, fleet)
    runner = web.AppRunner(
        Exporter(fleet).application(), access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=SHUTDOWN
    )
    await runner.setup()
    try:
        for address in addresses:
            host, _, port = address.rpartition(":")
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
            log.info("serving on http://%s", address)
        await stop.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()
        await fleet.close()


def _reload(fleet: Fleet) -> None:
    try:
        fleet.reload()
    except ConfigError:
        log.info("fix the file and send SIGHUP again")  # reload has logged what is wrong
