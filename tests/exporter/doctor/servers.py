"""Systems that show one fault each, on loopback: web servers, a Dask scheduler's RPC, and servers that say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgpack
from aiohttp import web

from exporter import dask_protocol
from exporter.doctor.examine import Report, examine
from exporter.doctor.findings import Finding
from exporter.errors import CollectError
from provisioning.config.model import Config
from tests.exporter.dask.framing import read_block

NATIVE = 'dask_scheduler_workers{state="idle"} 1.0\ndask_scheduler_tasks_suspicious_total{task_prefix_name="inc"} 0.0\n'
NATIVE_WORKER = 'dask_worker_tasks{state="executing"} 0.0\n'
NODE = 'node_exporter_build_info{version="1.11.1"} 1\n'
TAGS = {"models": [{"name": "tiny:latest"}, {"name": "far:cloud", "remote_host": "https://ollama.com:443"}]}

Answer = Callable[[web.Request], web.StreamResponse]


def text(body: str, *, status: int = 200, skew: float = 0.0) -> Answer:
    return lambda _: web.Response(text=body, status=status, headers=_date(skew))


def page(_: web.Request) -> web.StreamResponse:
    """What Open WebUI answers where it has no route."""
    return web.Response(text="<!doctype html><title>Open WebUI</title>", content_type="text/html")


def js(body: object, *, status: int = 200, skew: float = 0.0) -> Answer:
    return lambda _: web.json_response(body, status=status, headers=_date(skew))


def _date(skew: float) -> dict[str, str]:
    return {"Date": formatdate(time.time() + skew, usegmt=True)}


def ollama(version: str = "0.30.1", loaded: tuple[str, ...] = (), tags: object = TAGS) -> dict[str, Answer]:
    return {
        "/": text("Ollama is running"),
        "/api/version": js({"version": version}),
        "/api/tags": js(tags),
        "/api/ps": js({"models": [{"name": name, "size": 1, "size_vram": 0} for name in loaded]}),
        "/api/show": js({"capabilities": ["completion"]}),
    }


def openwebui(version: str = "0.12.4", **features: bool) -> dict[str, Answer]:
    doors = {"auth": True, "enable_signup": False, "enable_login_form": True, **features}
    config: dict[str, Any] = {"status": True, "features": doors}
    if features.get("onboarding"):
        config["onboarding"] = True
    return {
        "/health": js({"status": True}),
        "/ready": js({"status": True}),
        "/api/version": js({"version": version, "deployment_id": ""}),
        "/api/config": js(config),
        "*": page,
    }


@asynccontextmanager
async def serving(
    answers: Mapping[str, Answer], *, tls: ssl.SSLContext | None = None, hosts: tuple[str, ...] = ("127.0.0.1",)
) -> AsyncIterator[int]:
    """A web server; gives its port. A path it does not have gets the answer of `*`, or 404."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answers.get(request.path, answers.get("*", lambda _: web.Response(status=404)))(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        port = 0
        for host in hosts:
            site = web.TCPSite(runner, host, port, ssl_context=tls)
            await site.start()
            port = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()


def server_tls(cert: Path, key: Path, *, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[Any]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, CollectError
            ):
                await serve(reader, writer)
        finally:  # Python 3.11.2 leaves a connection open whose server failed
            writer.transport.abort()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1000):
        pass


@asynccontextmanager
async def scheduler(
    answers: Mapping[str, Any], tls: ssl.SSLContext | None = None, delay: float = 0.0
) -> AsyncIterator[int]:
    """A server of Dask's RPC that answers from a mapping; a mapping with `status` may be a failure."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(dask_protocol.encode(dask_protocol.HANDSHAKE))
        await _message(reader)
        while True:
            asked = await _message(reader)
            await asyncio.sleep(delay)
            name = f"events-{asked['topic']}" if asked["op"] == "events" else asked["op"]
            answer = answers.get(name, ())
            frame = msgpack.packb(answer, use_bin_type=True)
            writer.write(struct.pack("<QQQ", 16 + len(frame), 1, len(frame)) + frame)
            await writer.drain()

    async with listening(serve, tls) as port:
        yield port


async def _message(reader: asyncio.StreamReader) -> Any:
    size = dask_protocol.block_size(await reader.readexactly(8))
    return read_block(await reader.readexactly(size))


def worker(port: int | None = None, *, name: str = "a", nanny: bool = True, ahead: float = 0.0, **more: Any) -> Any:
    now = time.time()
    return {
        "type": "Worker",
        "name": name,
        "host": "127.0.0.1",
        "nthreads": 1,
        "memory_limit": 10**9,
        "last_seen": now,
        "services": {"dashboard": port},
        "metrics": {"memory": 10**8, "time": now + ahead},
        "status": "running",
        "nanny": "tcp://127.0.0.1:1" if nanny else None,
        **more,
    }


def cluster(
    dashboard: int | None, workers: Mapping[str, Any] | None = None, version: str = "2026.8.0"
) -> dict[str, Any]:
    """The answers of a scheduler."""
    return {
        "identity": {
            "type": "Scheduler",
            "id": "Scheduler-1",
            "address": "tcp://127.0.0.1:1",
            "services": {"dashboard": dashboard} if dashboard else {},
            "started": time.time() - 60,
            "workers": dict(workers or {}),
        },
        "versions": {"packages": {"distributed": version}, "host": {"python": "3.11.7.final.0"}},
        "processing": {},
    }


async def reports(own: tuple[str, ...] = (), clock: Callable[[], float] = time.time, **targets: Any) -> list[Report]:
    return await examine(Config.model_validate({"targets": targets}), own_addresses=own, clock=clock)


async def found(system: str, own: tuple[str, ...] = (), **target: Any) -> dict[str, Finding]:
    """The findings on one target by id."""
    configured = {"name": "it", **target}
    if system != "hosts":
        configured.setdefault("timeout", "2s")
    (report,) = await reports(own, **{system: [configured]})
    return {finding.id: finding for finding in report.findings}
