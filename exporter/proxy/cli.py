"""`cluster-ai proxy`: stand in front of Ollama and see what people wait for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from exporter import logs
from exporter.door.listen import Address, address
from exporter.door.settings import WebSettings
from exporter.proxy.serving import proxied, serve
from provisioning.config.load import ConfigError, load


def _addresses(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[Address, ...]:
    try:
        return tuple(map(address, value))
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
    metavar="HOST:PORT",
    callback=_addresses,
    help="Where to serve the proxy's own metrics. Default: services.ollama_proxy of the configuration.",
)
@click.option(
    "--web.config.file",
    "web_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TLS and passwords of the metrics, in the format of Prometheus's exporter-toolkit.",
)
@click.option(
    "--log.level",
    "level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least important lines to log.",
)
@click.option(
    "--log.format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log lines for people or for machines.",
)
def proxy(*, file: Path, addresses: tuple[Address, ...], web_file: Path | None, level: str, form: logs.Form) -> None:
    """Pass every request on to Ollama untouched, and measure time to first token, tokens and failures.

    Each target with `proxy: {listen: HOST:PORT}` in cluster-ai.yml gets that address; point clients there in place of
    Ollama's own. Ends at SIGTERM once the answers under way have ended, after 30 s at most.
    """
    logs.setup(level, form)
    try:
        config, settings = load(file), WebSettings(web_file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if not proxied(config):
        raise click.ClickException(
            f"no Ollama target in {file} has a proxy; give one `proxy: {{listen: 127.0.0.1:11435}}`"
        )
    try:
        asyncio.run(serve(config, settings, addresses=addresses or (address(config.services.ollama_proxy),)))
    except OSError as error:
        raise click.ClickException(f"cannot serve: {error.strerror or error}") from None
