"""Dask clusters: the scheduler's address, its workers, their clocks, and who can reach it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from exporter.collectors import dask_events, dask_native
from exporter.collectors.dask_workers import Roster, Worker, valid_port
from exporter.discover import What, dask_identity
from exporter.doctor import clocks, dask_bugs, dask_web, reach
from exporter.doctor.exam import Check, Exam, Visit, count, is_loopback, some
from exporter.doctor.findings import Finding, info, warning
from exporter.errors import CollectError
from exporter.families import number
from provisioning.config.targets import DaskTarget

log = logging.getLogger(__name__)

NO_WORKERS = info(
    "dask-no-workers", "The scheduler knows no worker at this moment.", "start workers, if some should be there"
)
NO_NANNY = warning(
    "dask-no-nanny",
    "Workers run without a nanny: one that takes too much memory is killed by the system and does not come back, and "
    "memory restarts are not counted.",
    "start them with --nanny (the default of `dask worker`), or have something else restart them",
)
WORKER_LOOPBACK = warning(
    "dask-worker-loopback",
    "Workers told a scheduler on another machine that they are at 127.0.0.1: other workers and Prometheus cannot "
    "reach them there.",
    "start them with --host and an address that the others can reach",
)
WORKER_CLOCK = warning(
    "dask-worker-clock",
    "A worker's clock and its scheduler's differ by more than five seconds, so durations of tasks come out wrong.",
    "run a time service (chrony, systemd-timesyncd) on the worker's machine",
)
OPEN = info(
    "dask-open",
    "The scheduler is reached over the network without TLS. Whoever reaches that port can run code on the cluster.",
    "let only the cluster's own machines and its users reach the port, or use tls:// with client certificates",
)
HTTP_OPEN = info(
    "dask-http-open",
    "The scheduler wants TLS, while its dashboard and /metrics are served to everyone over plain HTTP.",
    "let only Prometheus and its users reach the dashboard's port, or set distributed.scheduler.dashboard.tls",
)
OLD = info(
    "dask-old",
    "The version is older than the oldest one this product was tried with.",
    "take a newer Dask if numbers are missing",
)
HEARTBEATS = 2.5  # seconds in which workers of a small cluster send several
OLDEST: dask_events.Version = (2022, 12, 0)


class DaskExam(Exam):
    """One Dask cluster."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        self._target = cast("DaskTarget", visit.target)
        self._rpc = visit.wires.rpc(self._target)
        self._entries: Mapping[Any, Any] = {}
        self._workers: list[Worker] = []
        self._base: str | None = None
        self._version: dask_events.Version | None = None

    async def knock(self) -> list[Finding]:
        """Whether a scheduler answers at the address."""
        expected, address = What.DASK, self.visit.address
        try:
            reply = await self._rpc.call("identity")
        except CollectError as failure:
            return await reach.why(failure, address, self._target, expected, timeout=self._target.timeout)
        service = dask_identity(reply, address)
        if service.what is not What.DASK:
            mend = f"write scheduler: {service.scheduler}" if service.scheduler else ""
            return [reach.WRONG_SYSTEM.found(f"{address} is {service.what}, not {expected}", mend)]
        self.answered = True
        self._read(reply)
        return await self._ask_version()

    def checks(self) -> Mapping[str, Check]:
        """What else is looked at."""
        web = dask_web.Web(self.visit, self._base, self._workers)
        return {
            "certificate": partial(reach.certificate, self.visit, self._target),
            "clocks": self._clocks,
            "workers": self._look_at_workers,
            "native metrics": web.scheduler,
            "worker ports": web.worker_ports,
            "known bugs": partial(dask_bugs.check, self.visit.version, self._version, self._base),
            "exposure": self._exposure,
        }

    def _read(self, reply: Mapping[str, Any]) -> None:
        host = self.visit.url.hostname or ""
        self._entries = reply["workers"]
        self._workers, _ = Roster(self.visit.hosts, host).decode(self._entries)
        services = reply.get("services")
        port = valid_port(services.get("dashboard")) if isinstance(services, Mapping) else None
        self._base = dask_native.base_url(self._target.dashboard, host, port)

    async def _ask_version(self) -> list[Finding]:
        try:
            reply = await self._rpc.call("versions")
        except CollectError:
            return []  # the collection meets the same refusal and says so
        packages = reply.get("packages") if isinstance(reply, Mapping) else None
        text = packages.get("distributed") if isinstance(packages, Mapping) else None
        if isinstance(text, str):
            self.visit.version, self._version = text, dask_events.parse_version(text)
        if self._version is not None and self._version < OLDEST:
            return [OLD.found(f"distributed {text}; the oldest tried is 2022.12")]
        return []

    async def _clocks(self) -> list[Finding]:
        return [*await self._worker_clocks(), *await self._own_clock()]

    async def _own_clock(self) -> list[Finding]:
        """The scheduler's clock: by its web server, else by the newest heartbeat, which cannot be of the future."""
        if self._base is not None:
            http = self.visit.wires.http(self._target, self._base)
            try:
                return await clocks.check(http, "/health", self.visit.clock, timeout=self._target.timeout)
            except CollectError as failure:
                log.debug("no clock from the dashboard: %s", failure)  # the check of the native metrics says why
        newest = max((worker.last_seen for worker in self._workers if worker.last_seen is not None), default=0.0)
        return clocks.findings(max(0.0, newest - self.visit.clock()))

    async def _worker_clocks(self) -> list[Finding]:
        """Workers whose clock is wrong at two looks: a heartbeat that was late looks like a clock that is behind."""
        first = self._differences()
        if not first:
            return []
        await asyncio.sleep(HEARTBEATS)
        reply = await self._rpc.call("identity")
        if dask_identity(reply, self.visit.address).what is What.DASK:
            self._read(reply)
        again = self._differences()
        wrong = [f"{name} {min(first[name], again[name], key=abs):+.0f} s" for name in first if name in again]
        return [WORKER_CLOCK.found(f"against the scheduler's clock: {some(wrong)}")] if wrong else []

    def _differences(self) -> dict[str, float]:
        """Seconds that workers' clocks are ahead of the scheduler's, of those where it is too much.

        A heartbeat carries the worker's time (of its last sample, half a second old at most).
        """
        found: dict[str, float] = {}
        for worker in self._workers:
            metrics = self._entries[worker.address].get("metrics")
            told = number(metrics.get("time")) if isinstance(metrics, Mapping) else None
            if told is not None and worker.last_seen is not None and abs(told - worker.last_seen) > clocks.MOST:
                found[worker.labels.pair[0]] = told - worker.last_seen
        return found

    async def _look_at_workers(self) -> list[Finding]:
        if not self._workers:
            return [NO_WORKERS.found("no worker is connected")]
        found = []
        bare = [worker.labels.pair[0] for worker in self._workers if worker.nanny == 0]
        if bare:
            found.append(NO_NANNY.found(f"{len(bare)} of {count(len(self._workers), 'worker')}: {some(bare)}"))
        if not is_loopback(self.visit.url.hostname or ""):
            lost = [
                worker.labels.pair[0]
                for worker in self._workers
                if is_loopback((worker.address.rpartition("//")[2]).rpartition(":")[0].strip("[]"))
            ]
            if lost:
                found.append(WORKER_LOOPBACK.found(f"{count(len(lost), 'worker')}: {some(lost)}"))
        return found + self._one_process()

    def _one_process(self) -> list[Finding]:
        """Workers inside the scheduler's own process have no address on the network at all."""
        inside = [worker.labels.pair[0] for worker in self._workers if worker.address.startswith("inproc:")]
        if inside:
            seen = f"{count(len(inside), 'worker')} in one process with the scheduler: {some(inside)}"
            return [dask_web.SHARED_PROCESS.found(seen)]
        ports = Counter((worker.host, worker.dashboard_port) for worker in self._workers if worker.dashboard_port)
        shared = [f"{host}:{port}" for (host, port), workers in ports.items() if workers > 1]
        return (
            [dask_web.SHARED_PROCESS.found(f"several workers name the same HTTP port: {some(shared)}")]
            if shared
            else []
        )

    async def _exposure(self) -> list[Finding]:
        url = self.visit.url
        if is_loopback(url.hostname or ""):
            return []
        if url.scheme == "tcp":
            return [OPEN.found(f"{self.visit.address} is plain tcp on the network")]
        return [HTTP_OPEN.found(self._base)] if self._base is not None and self._base.startswith("http:") else []
