"""Dask clusters, read through their scheduler's RPC: nothing to install there, any version from 2022.12 on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

from exporter.apart import MANY, apart, entries, here, length
from exporter.collectors import dask_events, dask_native
from exporter.collectors.base import Clock, Collector, Http, NativeEndpoint, Outcome, Part, Wires, once
from exporter.collectors.dask_events import Removal, Tally, Version
from exporter.collectors.dask_processing import ProcessingAges
from exporter.collectors.dask_series import count_worker_series, total_families, worker_families
from exporter.collectors.dask_windows import Event, Windows
from exporter.collectors.dask_workers import Roster, Worker, WorkerLabels, valid_port
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, amount, gauge
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, System

KEPT_WORKERS_SECONDS = 600.0  # service discovery keeps a silent scheduler's workers, so their alerts do not resolve
NATIVE_KEEP = 60.0
LARGE_FLEET = 200  # workers above which a cluster is looked at every 15 s instead of 5
LARGE_WINDOW, LARGE_WINDOW_KEEP = 5_000, 30.0  # 2022.12 keeps 100,000 events and sends them all: 10 MB
_PROCESSING_SERIES = 2  # each worker's, from the part that may still be under way when the limit is held
_TASKS_A_WORKER = 10  # tasks that take as long to read as a worker
_RESERVE = 200  # series that do not grow with the workers, with room to spare


@dataclass(slots=True)
class Look:
    """One answer of `identity`."""

    scheduler_id: str
    started: float | None
    dashboard_port: int | None
    per_worker: bool  # each worker's series are told
    workers: list[Worker] = field(default_factory=list)
    families: list[Family] = field(default_factory=list)
    withheld: int = 0  # series of workers that would not all fit: totals and quantiles stand for them


@dataclass(slots=True)
class Versions:
    """What a scheduler runs; asked once a scheduler."""

    scheduler_id: str
    text: str
    number: Version | None
    python: str


class DaskCollector(Collector):
    """One Dask cluster."""

    system: ClassVar[System] = "dask"
    prefix: ClassVar[str] = "dask_cluster"
    part_names: ClassVar[tuple[str, ...]] = ("identity", "versions", "processing", "events", "native")

    def __init__(
        self, target: DaskTarget, wires: Wires, hosts: HostNames, clock: Clock, monotonic: Clock = time.monotonic
    ) -> None:
        self._target = target
        self._wires = wires
        self._rpc = wires.rpc(target)
        self._clock = clock
        self._monotonic = monotonic
        self._host = urlsplit(target.scheduler).hostname or ""
        self._host_label = hosts.name_of(self._host)
        self._roster = Roster(hosts, self._host)
        self._ages = ProcessingAges()
        self._ages_of = ""
        self._versions: Versions | None = None
        self._windows = Windows()
        self._tally = Tally()
        self._first_answer: float | None = None
        self._endpoints: list[NativeEndpoint] = []
        self._endpoints_at: float | None = None
        self._dashboard: str | None = None
        self._answered = False
        self._native_http: tuple[str, Http] | None = None

    @classmethod
    def build(cls, target: DaskTarget, wires: Wires, hosts: HostNames, clock: Clock) -> DaskCollector:
        """A collector for a configured cluster; opens nothing yet."""
        return cls(target, wires, hosts, clock)

    def parts(self) -> Mapping[str, Part]:
        """Identity is asked once and shared; the others run beside it and join it when they need it."""
        self.withheld = 0
        look = once(self._look)
        versions = once(partial(self._ask_versions, look))
        keep = LARGE_WINDOW_KEEP if self._windows.largest() > LARGE_WINDOW else 0.0
        parts = {
            "identity": Part(partial(self._identity, look)),
            "versions": Part(partial(self._info, versions)),
            "processing": Part(partial(self._processing, look)),
            "events": Part(partial(self._look_at_events, look, versions), keep=keep),
        }
        # Not before the scheduler has said where its web server is, and not while it is down: the answer is kept.
        if self._answered:
            parts["native"] = Part(self._native, keep=NATIVE_KEEP)
        return parts

    def standing(self) -> list[Family]:
        """The event counters: at 0 before the first answer, and kept while the cluster is down."""
        return self._tally.families(self._versions.number if self._versions else None)

    def is_up(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Only a scheduler that says who it is makes the cluster up; its web server may outlive its RPC."""
        identity = outcomes.get("identity")
        return identity is not None and identity.error is None and not identity.kept

    def native_endpoints(self) -> list[NativeEndpoint]:
        """The /metrics of the scheduler and its workers, until ten minutes after the scheduler last answered."""
        at = self._endpoints_at
        if at is None or self._monotonic() - at > KEPT_WORKERS_SECONDS:
            return []
        return self._endpoints

    async def _look(self) -> Look:
        self._answered = False
        reply = await self._rpc.call("identity")
        if not isinstance(reply, Mapping) or not isinstance(reply.get("workers"), Mapping):
            raise CollectError(
                Reason.SHAPE, f"{self._target.scheduler} answers, but not as a scheduler; is it a worker's address?"
            )
        services = reply.get("services")
        look = Look(
            scheduler_id=_text(reply.get("id")),
            started=amount(reply.get("started")),
            dashboard_port=valid_port(services.get("dashboard")) if isinstance(services, Mapping) else None,
            per_worker=self._target.worker_series,
        )
        told = reply["workers"]
        del reply  # as soon as it is understood, not when everything that came of it is
        do = apart if len(told) > MANY else here
        look.workers, labels = await do(self._roster.decode, told)
        del told
        look.families = await do(total_families, look.workers)
        if look.per_worker:
            more = _PROCESSING_SERIES * len(look.workers)
            room = self._target.series_limit - _RESERVE - more
            wanted = await do(count_worker_series, look.workers, room) + more
            look.per_worker = wanted <= room + more
            look.withheld = 0 if look.per_worker else wanted
        if look.per_worker:
            look.families += await do(worker_families, look.workers)
        dashboard = dask_native.base_url(self._target.dashboard, self._host, look.dashboard_port)
        endpoints = await do(dask_native.endpoints, dashboard, self._host_label, look.workers)
        self._take(look, labels, dashboard, endpoints)
        return look

    def _take(
        self, look: Look, labels: dict[str, WorkerLabels], dashboard: str | None, endpoints: list[NativeEndpoint]
    ) -> None:
        """Remember a look that went well, all at once: one that was given up half-way leaves nothing behind."""
        self._roster.keep(labels)
        self.withheld = look.withheld
        if self._first_answer is None:
            self._first_answer = self._clock()
        self._dashboard, self._endpoints = dashboard, endpoints
        self._endpoints_at = self._monotonic()
        # Prometheus begins a target anew when its interval changes: a fleet around the limit must not flap.
        self.large = len(look.workers) > (LARGE_FLEET * 0.9 if self.large else LARGE_FLEET)
        self._answered = True

    async def _identity(self, look: Callable[[], Awaitable[Look]]) -> list[Family]:
        seen = await look()
        started = gauge(
            "dask_cluster_start_time_seconds", "When the scheduler started, by its clock, in seconds since the epoch."
        )
        started.add(seen.started)
        return [started, *seen.families]

    async def _ask_versions(self, look: Callable[[], Awaitable[Look]]) -> Versions:
        scheduler_id = (await look()).scheduler_id
        if self._versions is None or self._versions.scheduler_id != scheduler_id:
            reply = await self._rpc.call("versions")
            packages = _mapping(_mapping(reply).get("packages"))
            text, python = packages.get("distributed"), _mapping(_mapping(reply).get("host")).get("python")
            if not isinstance(text, str) or not isinstance(python, str):
                raise CollectError(Reason.SHAPE, "the scheduler's `versions` do not name distributed and python")
            self._versions = Versions(scheduler_id, text, dask_events.parse_version(text), _python(python))
        return self._versions

    async def _info(self, versions: Callable[[], Awaitable[Versions]]) -> list[Family]:
        known = await versions()
        info = gauge(
            "dask_cluster_info",
            "Always 1; the scheduler's id, which is new after every restart, its version of Dask and of Python.",
        )
        info.add(1.0, Labels(id=known.scheduler_id, version=known.text, python=known.python))
        return [info]

    async def _processing(self, look: Callable[[], Awaitable[Look]]) -> list[Family]:
        reply = await self._rpc.call("processing")
        now = self._monotonic()
        seen = await look()
        if seen.scheduler_id != self._ages_of:
            self._ages.forget()
            self._ages_of = seen.scheduler_id
        do = apart if len(seen.workers) > MANY or entries(reply) > MANY * _TASKS_A_WORKER else here
        self._ages.keep(await do(self._ages.look, reply, now))
        del reply
        return await do(self._ages.families, seen.workers, now, per_worker=seen.per_worker)

    async def _look_at_events(
        self, look: Callable[[], Awaitable[Look]], versions: Callable[[], Awaitable[Versions]]
    ) -> list[Family]:
        """Count what is new in each topic. All or nothing: a failed call leaves every event for the next look."""
        seen = await look()
        try:
            version = (await versions()).number
        except CollectError:
            version = None  # `all` is the same in every version; the rest waits
        windows = self._windows.before(seen.scheduler_id, seen.started, self._first_answer)
        tally = Tally()
        for topic in dask_events.topics(version):
            events = await self._events_of(topic)
            do = apart if len(events) > LARGE_WINDOW else here
            news, overflowed, windows[topic] = await do(windows[topic].news, events)
            if news and len(news) == len(events):
                await self._still(seen.scheduler_id)
            tally.overflows[topic] += overflowed
            for removal in await do(dask_events.count, topic, news, tally):
                tally.remove(await self._completed(removal))
        self._windows.commit(seen.scheduler_id, seen.started, windows)
        self._tally.add(tally)
        return []

    async def _events_of(self, topic: str) -> list[Event]:
        reply = await self._rpc.call("events", topic=topic)
        return await (apart if length(reply) > LARGE_WINDOW else here)(dask_events.decode_events, reply)

    async def _still(self, scheduler_id: str) -> None:
        """A window without anything known in it may be another scheduler's, started after `identity` answered."""
        reply = _mapping(await self._rpc.call("identity"))
        if reply.get("id") != scheduler_id:
            raise CollectError(Reason.CONNECT, f"{self._target.scheduler} restarted between two questions")

    async def _completed(self, removal: Removal) -> Removal:
        """The removal with `expected`, from the worker's own topic where the version does not say it."""
        if removal.expected is None and removal.address:
            removal.expected = dask_events.was_retired(await self._events_of(removal.address), removal.at)
        return removal

    async def _native(self) -> list[Family]:
        if self._dashboard is None:
            return await dask_native.availability(None, 0)
        if self._native_http is None or self._native_http[0] != self._dashboard:
            self._native_http = (self._dashboard, self._wires.http(self._target, self._dashboard))
        return await dask_native.availability(self._native_http[1], self._target.timeout)


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _python(version: str) -> str:
    """`3.11.7` of Dask's `3.11.7.final.0`."""
    return ".".join(version.split(".", 3)[:3])


COLLECTOR = DaskCollector
