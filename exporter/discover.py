"""Who answers at an address: asked as the systems themselves want to be asked, without credentials.

A system is named only when it answers as itself: an Ollama by its list of models, an Open WebUI by its health and
version, a Dask scheduler by its identity over its own protocol.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from exporter.client.http import HttpClient, decode
from exporter.client.rpc import RpcClient
from exporter.client.tls_look import look
from exporter.collectors import dask_workers
from exporter.collectors.base import Answer
from exporter.collectors.ollama_answers import decode_installed, decode_loaded, decode_version
from exporter.collectors.openwebui_public import version as openwebui_version
from exporter.errors import CollectError, Reason
from provisioning.config.targets import DaskTarget, TlsFiles


class What(StrEnum):
    """A system that was recognised."""

    OLLAMA = "Ollama"
    OPENWEBUI = "Open WebUI"
    DASK = "a Dask scheduler"
    DASK_WORKER = "a Dask worker"
    DASK_NANNY = "a Dask nanny"
    DASK_DASHBOARD = "the dashboard of a Dask scheduler"
    DASK_WORKER_DASHBOARD = "the dashboard of a Dask worker"
    NODE_EXPORTER = "node_exporter"
    GPU_EXPORTER = "a GPU exporter"
    PROMETHEUS = "Prometheus"
    GRAFANA = "Grafana"
    OTHER = "something this command does not know"


@dataclass(frozen=True, slots=True)
class Service:
    """What answers at an address, and the little it says about itself (from outside: not to be trusted)."""

    what: What
    url: str
    loaded: tuple[str, ...] = ()  # models in an Ollama's memory
    scheduler: str = ""  # the scheduler that a Dask worker says it belongs to
    wants_tls: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """One port of one host: who answered, or why nobody did."""

    host: str
    port: int
    service: Service | None
    failure: Reason | None = None


USUAL_PORTS = {
    8786: What.DASK,
    8787: What.DASK_DASHBOARD,
    11434: What.OLLAMA,
    3000: What.OPENWEBUI,
    8080: What.OPENWEBUI,
    9100: What.NODE_EXPORTER,
    9400: What.GPU_EXPORTER,
    9835: What.GPU_EXPORTER,
}
AT_ONCE = 16  # connections under way when many places are asked
# Lines that only this program writes into its /metrics. The `dask` of Dask's names can be configured.
_METRICS = (
    (re.compile(rb"^\w+_scheduler_workers\{", re.MULTILINE), What.DASK_DASHBOARD),
    (re.compile(rb"^\w+_worker_tasks\{", re.MULTILINE), What.DASK_WORKER_DASHBOARD),
    (re.compile(rb"^node_(exporter_build_info|cpu_seconds_total)\{", re.MULTILINE), What.NODE_EXPORTER),
    (re.compile(rb"^(DCGM_FI_|nvidia_smi_)\w+[ {]", re.MULTILINE), What.GPU_EXPORTER),
    (re.compile(rb"^prometheus_build_info\{", re.MULTILINE), What.PROMETHEUS),
    (re.compile(rb"^grafana_build_info\{", re.MULTILINE), What.GRAFANA),
)
_OK = 200


async def at(url: str, timeout: float) -> Service:
    """Who answers at an http:// or https:// address. Raises CollectError when nothing answers there."""
    client = HttpClient(url, TlsFiles())
    try:
        first = await client.ask("/metrics", timeout=timeout)
        for recognise in (_ollama, _openwebui):
            found = await recognise(client, url, timeout)
            if found is not None:
                return found
        return Service(by_metrics(first) or await _dask_web(client, timeout), url)
    finally:
        await client.close()


async def dask_at(host: str, port: int, timeout: float) -> Service:
    """Which part of Dask speaks its protocol there. Raises CollectError when none does."""
    url = f"tcp://{bracketed(host)}:{port}"
    client = RpcClient(DaskTarget.model_validate({"name": "unknown", "scheduler": url, "timeout": f"{timeout:g}s"}))
    try:
        reply = await client.call("identity")
    except CollectError as error:
        if error.reason in (Reason.TLS, Reason.CONNECT) and await speaks_tls(host, port, timeout):
            return Service(What.OTHER, f"tls://{bracketed(host)}:{port}", wants_tls=True)
        raise
    finally:
        await client.close()
    return dask_identity(reply, url)


async def speaks_tls(host: str, port: int, timeout: float) -> bool:
    """Whether TLS is spoken there, with a good certificate or not."""
    try:
        return (await look(host, port, TlsFiles(), check_hostname=False, timeout=timeout)).speaks_tls
    except CollectError:
        return False


def dask_identity(reply: object, url: str) -> Service:
    """What the answer to `identity` says about who gave it."""
    if not isinstance(reply, dict):
        return Service(What.OTHER, url)
    if isinstance(reply.get("workers"), dict):
        return Service(What.DASK, url)
    scheduler = reply.get("scheduler")
    if isinstance(scheduler, str):
        known = scheduler if dask_workers.host_of(scheduler) else ""
        return Service(What.DASK_WORKER, url, scheduler=known)
    return Service(What.DASK_NANNY if reply.get("type") == "Nanny" else What.OTHER, url)


async def usual_places(host: str, timeout: float, ports: Iterable[int]) -> list[Service]:
    """Everything that answers at these ports of one host."""
    looks = await look_around([host], timeout, ports)
    return [look.service for look in looks if look.service is not None]


async def look_around(hosts: Iterable[str], timeout: float, ports: Iterable[int] | None = None) -> list[Look]:
    """One look at each of these ports (or all of USUAL_PORTS) of each host; a question takes at most `timeout` s."""
    slots = asyncio.Semaphore(AT_ONCE)
    wanted = tuple(USUAL_PORTS if ports is None else ports)
    return await asyncio.gather(*(_look(host, port, timeout, slots) for host in hosts for port in wanted))


async def _look(host: str, port: int, timeout: float, slots: asyncio.Semaphore) -> Look:
    async with slots:
        try:
            if USUAL_PORTS[port] is What.DASK:
                return Look(host, port, await dask_at(host, port, timeout))
            return Look(host, port, await at(f"http://{bracketed(host)}:{port}", timeout))
        except CollectError as error:
            silent = error.reason in (Reason.REFUSED, Reason.TIMEOUT, Reason.DNS, Reason.CONNECT)
            service = None if silent else Service(What.OTHER, f"{bracketed(host)}:{port}")
            return Look(host, port, service, error.reason)


async def _ollama(client: HttpClient, url: str, timeout: float) -> Service | None:
    try:
        decode_version(await client.json("/api/version", timeout=timeout))
        decode_installed(await client.json("/api/tags", timeout=timeout))
        loaded = decode_loaded(await client.json("/api/ps", timeout=timeout))
    except CollectError:
        return None
    return Service(What.OLLAMA, url, loaded=tuple(loaded.models))


async def _openwebui(client: HttpClient, url: str, timeout: float) -> Service | None:
    try:
        await openwebui_version(client, timeout)
    except CollectError:
        return None
    return Service(What.OPENWEBUI, url)


def by_metrics(answer: Answer) -> What | None:
    """Whose /metrics this is, by lines that only one program writes; None when by none known."""
    if answer.status != _OK:
        return None
    return next((what for pattern, what in _METRICS if pattern.search(answer.body)), None)


async def _dask_web(client: HttpClient, timeout: float) -> What:
    """A Dask dashboard without prometheus_client says nothing in /metrics; only schedulers count for us in JSON."""
    try:
        health = await client.ask("/health", timeout=timeout)
        if health.status != _OK or health.body.strip() != b"ok":
            return What.OTHER
        counts = await client.ask("/json/counts.json", timeout=timeout)
        if counts.status != _OK:
            return What.OTHER
        decoded = await decode(counts, "counts.json")
    except CollectError:
        return What.OTHER
    return What.DASK_DASHBOARD if isinstance(decoded, dict) and "processing" in decoded else What.OTHER


def bracketed(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
