"""`cluster-ai proxy`: stand in front of Ollama and see what people wait for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from exporter import logs
from exporter.door.crowd import want_descriptors
from exporter.door.listen import Address, address
from exporter.door.settings import WebSettings
from exporter.flags import Flags, leave_no_core
from exporter.proxy.serving import proxied, serve
from provisioning.config.load import ConfigError, load
from provisioning.config.secrets import SecretError

_flag = Flags("CLUSTER_AI_PROXY")


@click.command()
@_flag.config()
@_flag.listen(
    "Where to serve the proxy's own metrics; may be given more than once. Default: services.ollama_proxy of the "
    "configuration."
)
@_flag.web_config(
    "TLS and passwords of the metrics, in the format of Prometheus's exporter-toolkit; followed when it changes."
)
@_flag.logs()
def proxy(*, file: Path, addresses: tuple[Address, ...], web_file: Path | None, level: str, form: logs.Form) -> None:
    """Pass every request on to Ollama untouched, and measure time to first token, tokens and failures.

    Each target with `proxy: {listen: HOST:PORT}` in cluster-ai.yml gets that address; point clients there in place of
    Ollama's own. Ends at SIGTERM once the answers under way have ended, after 30 s at most.
    """
    logs.setup(level, form)
    leave_no_core()
    want_descriptors()
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
    except SecretError as error:
        raise click.ClickException(f"cannot serve: {error}") from None
