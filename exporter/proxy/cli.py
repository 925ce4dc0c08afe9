"""`cluster-ai proxy`: stand in front of Ollama and see what people wait for."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from exporter import logs
from exporter.door.crowd import want_descriptors
from exporter.door.listen import Address, address
from exporter.door.settings import WebSettings
from exporter.flags import Flags, leave_no_core
from exporter.proxy.serving import proxied, serve
from exporter.proxy.workers import Workers, end_with_parent
from provisioning.config.load import ConfigError, load
from provisioning.config.secrets import SecretError

_flag = Flags("CLUSTER_AI_PROXY")
# -P: the folder somebody happens to be in must not offer modules in place of ours.
_WORKER = (sys.executable, "-P", "-m", "provisioning.cli", "proxy", "--worker")


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
@click.option("--worker", is_flag=True, hidden=True, help="One of services.ollama_proxy_workers, started by the first.")
def proxy(
    *, file: Path, addresses: tuple[Address, ...], web_file: Path | None, level: str, form: logs.Form, worker: bool
) -> None:
    """Pass every request on to Ollama untouched, and measure time to first token, tokens and failures.

    Each target with `proxy: {listen: HOST:PORT}` in cluster-ai.yml gets that address; point clients there in place of
    Ollama's own. Ends at SIGTERM once the answers under way have ended, after 30 s at most. For each address in
    services.ollama_proxy_workers it starts a process more, to use more cores.
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
    others = config.services.ollama_proxy_workers
    if worker:
        end_with_parent()
    same = ["--config", str(file), "--log.level", level, "--log.format", form]
    same += ["--web.config.file", str(web_file)] if web_file is not None else []
    commands = [[*_WORKER, *same, "--web.listen-address", where] for where in others]
    try:
        asyncio.run(
            serve(
                config,
                settings,
                addresses=addresses or (address(config.services.ollama_proxy),),
                workers=Workers(commands) if others and not worker else None,
                shared=bool(others),
            )
        )
    except OSError as error:
        raise click.ClickException(f"cannot serve: {error.strerror or error}") from None
    except SecretError as error:
        raise click.ClickException(f"cannot serve: {error}") from None
