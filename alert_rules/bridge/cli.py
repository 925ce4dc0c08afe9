"""`cluster-ai sms-bridge`: between Alertmanager and people's phones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alert_rules.bridge.apprise_provider import MissingAppriseError
from alert_rules.bridge.ledger import LedgerError
from alert_rules.bridge.serving import Places, serve
from exporter import logs
from exporter.door.listen import Address, address
from exporter.door.settings import WebSettings
from provisioning.config.load import ConfigError, load

Command = Callable[..., None]


def _flag(name: str, *more: str, **options: Any) -> Callable[[Command], Command]:
    """An option that an environment variable of the same name can give too."""
    variable = f"CLUSTER_AI_SMS_BRIDGE_{name.strip('-').replace('.', '_').replace('-', '_').upper()}"
    return click.option(name, *more, envvar=variable, show_envvar=True, **options)


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Address | None:
    try:
        return None if value is None else address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("sms-bridge")
@_flag(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("cluster-ai.yml"),
    show_default=True,
    help="The configuration file.",
)
@_flag(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File that holds the bearer token which Alertmanager sends.",
)
@_flag(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File for what was told to whom; made if missing. Keep it: it is why nobody is told twice. Not used where "
    "notifications.sms.redis_url_file is given.",
)
@_flag(
    "--web.listen-address",
    "listen",
    metavar="HOST:PORT",
    callback=_address,
    help="Where to serve. Default: services.sms_bridge of the configuration.",
)
@_flag(
    "--web.config.file",
    "web_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TLS, in the format of Prometheus's exporter-toolkit; followed when it changes.",
)
@_flag(
    "--log.level",
    "level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least important lines to log.",
)
@_flag(
    "--log.format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log lines for people or for machines.",
)
def sms_bridge(
    *,
    file: Path,
    token_file: Path,
    ledger: Path,
    listen: Address | None,
    web_file: Path | None,
    level: str,
    form: logs.Form,
) -> None:
    """Send SMS for Alertmanager, each once, and pass its sign of life on.

    What does not reach a phone goes by mail. `cluster-ai up` starts it where somebody is told by SMS or a heartbeat is
    configured.
    """
    logs.setup(level, form)
    for chatty in ("httpx", "httpcore"):  # they log addresses, and with them numbers and secrets
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with contextlib.suppress(OSError, ValueError):  # secrets in memory must not land on a disk
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        config, settings = load(file), WebSettings(web_file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if settings.now().config.basic_auth_users:
        raise click.ClickException(f"{web_file}: callers come with a bearer token here; take basic_auth_users out")
    where = listen or address(config.services.sms_bridge)
    places = Places(
        token=token_file, ledger=ledger.absolute(), owner=f"{socket.gethostname()}/{where.host}:{where.port}"
    )
    try:
        asyncio.run(serve(config, places, settings, [where]))
    except (LedgerError, MissingAppriseError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot serve: {error.strerror or error}") from None
