"""`cluster-ai sms-bridge`: between Alertmanager and people's phones."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import click

from alert_rules.bridge.apprise_provider import MissingAppriseError
from alert_rules.bridge.ledger import LedgerError
from alert_rules.bridge.serving import Places, serve
from exporter import logs
from exporter.door.listen import Address, address
from exporter.door.settings import WebSettings
from exporter.flags import FILE, Flags, leave_no_core
from provisioning.config.load import ConfigError, load

_flag = Flags("CLUSTER_AI_SMS_BRIDGE")


@click.command("sms-bridge")
@_flag.config()
@_flag(
    "--token-file",
    type=FILE,
    required=True,
    help="File that holds the bearer token which Alertmanager sends.",
)
@_flag(
    "--ledger",
    type=FILE,
    required=True,
    help="File for what was told to whom; made if missing. Keep it: it is why nobody is told twice. Not used where "
    "notifications.sms.redis_url_file is given.",
)
@_flag(
    "--redis-url-file",
    type=FILE,
    help="File with the address of a Redis for what was told, in place of the ledger; notifications.sms.redis_url_file "
    "counts before it.",
)
@_flag.listen("Where to serve; may be given more than once. Default: services.sms_bridge of the configuration.")
@_flag.web_config("TLS, in the format of Prometheus's exporter-toolkit; followed when it changes.")
@_flag.logs()
def sms_bridge(
    *,
    file: Path,
    token_file: Path,
    ledger: Path,
    redis_url_file: Path | None,
    addresses: tuple[Address, ...],
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
    leave_no_core()
    try:
        config, settings = load(file), WebSettings(web_file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if settings.now().config.basic_auth_users:
        raise click.ClickException(f"{web_file}: callers come with a bearer token here; take basic_auth_users out")
    where = addresses or (address(config.services.sms_bridge),)
    places = Places(
        token=token_file,
        ledger=ledger.absolute(),
        owner=f"{socket.gethostname()}/{where[0].host}:{where[0].port}",
        redis=redis_url_file,
    )
    try:
        asyncio.run(serve(config, places, settings, where))
    except (LedgerError, MissingAppriseError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot serve: {error.strerror or error}") from None
