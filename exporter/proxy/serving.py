"""The proxy as a process: an address for each Ollama that has one, and its own metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.door.formats import wanted
from exporter.door.guard import Guard
from exporter.door.listen import Address, address
from exporter.door.server import Server
from exporter.door.settings import WebSettings
from exporter.proxy.accounts import Accounts
from exporter.proxy.contexts import Contexts
from exporter.proxy.crowd import Crowd
from exporter.proxy.guards import guard_of
from exporter.proxy.metrics import Metrics
from exporter.proxy.relay import Client, factory
from exporter.proxy.secure import HANDSHAKE, tls_of
from exporter.proxy.seen import Counting
from exporter.proxy.upstream import Upstream
from exporter.proxy.workers import Workers
from provisioning.config.model import Config
from provisioning.config.ollama_proxy import OllamaProxy
from provisioning.config.secrets import SecretFile
from provisioning.config.targets import OllamaTarget

log = logging.getLogger(__name__)
DRAIN = 30.0
"""Seconds that answers under way have to end after SIGTERM."""
SPARE = 5.0
"""Seconds more than that, for workers."""
_BACKLOG = 1024
_SLOWEST = 3600.0  # s in which the end of an answer may go out over TLS; a client that has it all is not waited for
_PORTS = {"http": 80, "https": 443}


def proxied(config: Config) -> list[OllamaTarget]:
    """The targets that have a proxy."""
    return [target for target in config.targets.ollama if target.proxy is not None]


async def serve(
    config: Config, settings: WebSettings, *, addresses: Sequence[Address], workers: Workers | None, shared: bool
) -> None:
    """Serve until SIGTERM or SIGINT, with `workers` beside us. `shared`: other processes listen where we do.

    Raises OSError when an address is taken or a certificate cannot be read, SecretError when a secret cannot.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    door = Server(_application(metrics, settings), settings)
    clients: set[Client] = set()
    listening: list[asyncio.Server] = []
    try:
        for url in await door.start(addresses):
            log.info("metrics on %s", url)
        listening.extend([await listen(target, metrics, clients, shared=shared) for target in proxied(config)])
        if workers is not None:
            workers.start()
        await stop.wait()
    finally:
        ending = asyncio.create_task(workers.stop(DRAIN + SPARE)) if workers is not None else None
        log.info("stopping; %d connections are open", len(clients))
        for server in listening:
            server.close()
        await drain(clients)
        if ending is not None:
            await ending
        await door.stop()


async def listen(
    target: OllamaTarget, metrics: Metrics, clients: set[Client], *, shared: bool = False
) -> asyncio.Server:
    """Stand in front of one Ollama. Raises OSError, and SecretError when a file of its cannot be read."""
    assert target.proxy is not None  # noqa: S101 -- `proxied` gives no other
    where = address(target.proxy.listen)
    accounts = Accounts(target.proxy)
    guard = guard_of(target.proxy, accounts, metrics, target.name)
    tls = tls_of(target.proxy)
    upstream = upstream_of(target)
    watcher = Counting(metrics, target.name, accounts, Contexts(upstream))
    made = factory(upstream, watcher, clients, guard)
    server = await asyncio.get_running_loop().create_server(
        Crowd(made, clients),
        where.host or None,
        where.port,
        backlog=_BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=None if tls is None else HANDSHAKE,
        ssl_shutdown_timeout=None if tls is None else _SLOWEST,
        reuse_port=shared or None,
    )
    log.info("%s: serving on %s for %s", target.name, target.proxy.listen, target.url)
    return server


def upstream_of(target: OllamaTarget) -> Upstream:
    """Where a target's requests go. Raises OSError when its certificates cannot be read."""
    parts = urlsplit(target.url)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context(cafile=target.ca_file)
        if target.cert_file is not None:
            tls.load_cert_chain(target.cert_file, target.key_file)
    port = parts.port or _PORTS[parts.scheme]
    return Upstream(
        parts.hostname or "",
        port,
        tls,
        rename=parts.netloc.encode(),
        bearer=_bearer(target.proxy),
        request_usage=target.proxy is not None and target.proxy.request_usage,
    )


def _bearer(proxy: OllamaProxy | None) -> Callable[[], bytes | None] | None:
    """What requests bring to Ollama, read again when it changes. Raises SecretError when it cannot be read now."""
    if proxy is not None and proxy.bearer_token_file is not None:
        secret = SecretFile(proxy.bearer_token_file)
        secret.read()
        return lambda: secret.read().encode()
    if proxy is not None and proxy.tokens_file is not None:
        return lambda: None
    return None


async def drain(clients: set[Client], seconds: float = DRAIN) -> None:
    """Lets answers under way end, for so long; then ends every connection."""
    for client in list(clients):
        client.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(client.gone.wait() for client in list(clients)))
    for client in list(clients):
        client.abort()


def _application(metrics: Metrics, settings: WebSettings) -> web.Application:
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)

    async def exposition(request: web.Request) -> web.Response:
        openmetrics, content_type = wanted(request)
        generate = generate_openmetrics if openmetrics else generate_latest
        return web.Response(body=generate(registry), headers={"Content-Type": content_type})

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="Healthy.\n")

    guard = Guard(settings, count=lambda _endpoint, _status: None, headers={}, costly=frozenset())
    app = web.Application(middlewares=[guard.middleware], client_max_size=0)
    app.on_cleanup.append(guard.close)
    app.router.add_get("/metrics", exposition)
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", healthy)
    return app
