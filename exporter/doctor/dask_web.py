"""Dask's own /metrics, of the scheduler and of its workers, as Prometheus will meet them."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.collectors import dask_native
from exporter.collectors.base import Answer, NativeEndpoint
from exporter.collectors.dask_workers import Worker
from exporter.doctor import dask_bugs
from exporter.doctor.exam import Visit, count, some
from exporter.doctor.findings import Finding, error, warning
from exporter.doctor.reach import brief
from exporter.errors import CollectError
from provisioning.config.targets import DaskTarget

NO_HTTP = warning(
    "dask-no-http",
    "The scheduler, or a worker, serves no HTTP at all, so its own /metrics are missing.",
    "start it without --no-dashboard, or with --dashboard-address",
)
HTTP_UNREACHABLE = warning(
    "dask-http-unreachable",
    "The scheduler's dashboard port does not answer here, so Prometheus gets none of its own metrics.",
    "open that port to this machine, or write the right address as `dashboard`",
)
NO_PROMETHEUS_CLIENT = warning(
    "dask-no-prometheus-client",
    "prometheus_client is missing there. Dask answers /metrics with status 200 and a comment, so it looks well and "
    "has no series.",
    "install prometheus_client where the scheduler and the workers run, and restart them",
)
NATIVE_EMPTY = warning(
    "dask-native-empty",
    "/metrics has the series of Python and of the process and none of Dask's own: after one early error a scheduler "
    "leaves them out for good (B7, dask/distributed#9096; all versions).",
    "restart it; scrape it only once it has started",
)
MANY_PREFIXES = warning(
    "dask-many-prefixes",
    "The scheduler keeps about eight series for each task prefix it ever saw, for ever; thousands of them make each "
    "scrape hold the scheduler up (B4; all versions).",
    "give tasks names that share a prefix (dask_key_name: the part before the last dash), and restart the scheduler",
)
NATIVE_TOO_LARGE = error(
    "dask-native-too-large",
    "The scheduler's own /metrics has more series than the rendered Prometheus takes from one scrape, which is then "
    "refused as a whole.",
    "as for dask-many-prefixes; until then this scheduler's own metrics are missing",
)
WORKER_PORTS = warning(
    "dask-worker-ports",
    "The HTTP ports of workers do not answer here, so Prometheus gets none of their own metrics. Those of this "
    "exporter come through the scheduler and are not affected.",
    "open the workers' dashboard ports to this machine; `dask worker --dashboard-address :PORT` makes them fixed",
)
SHARED_PROCESS = warning(
    "dask-shared-process",
    "Workers share a process with the scheduler, or an HTTP port with each other. Dask registers its metrics once a "
    "process, so each /metrics there has the series of the scheduler and of a worker, and sums over all of them count "
    "twice (B6; all versions). Process and Python metrics are those of the whole process.",
    "run the scheduler and each worker in processes of their own (LocalCluster(processes=True), the commands)",
)

MANY = 1_000  # prefixes; about 8,000 series and a tenth of a second of the scheduler's time at each scrape
SAMPLES = 50_000  # the sample_limit that is rendered for native scrapes
ASKED = 20  # workers
_AT_ONCE = 8
_OK = 200
_SCHEDULER = re.compile(rb"^\w+_scheduler_(workers|clients|tasks)\b", re.MULTILINE)
_WORKER = re.compile(rb"^\w+_worker_(tasks|threads)\b", re.MULTILINE)
_PREFIX = re.compile(rb'[{,]task_prefix_name="((?:[^"\\]|\\.)*)"')
_MEDIAN = re.compile(rb"^\w+_worker_(tick_duration|task_duration|transfer_bandwidth)_median_", re.MULTILINE)
_SAMPLE = re.compile(rb"^[A-Za-z_:]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Native:
    """What one /metrics says."""

    series: int
    scheduler: bool  # has series of a scheduler
    worker: bool  # has series of a worker
    prefixes: int
    median: bool

    @classmethod
    def of(cls, answer: Answer) -> Native:
        """Read the text format as far as it is needed here."""
        body = answer.body
        return cls(
            series=sum(1 for _ in _SAMPLE.finditer(body)),
            scheduler=_SCHEDULER.search(body) is not None,
            worker=_WORKER.search(body) is not None,
            prefixes=len({match[1] for match in _PREFIX.finditer(body)}),
            median=_MEDIAN.search(body) is not None,
        )


class Web:
    """The HTTP side of one cluster."""

    def __init__(self, visit: Visit, base: str | None, workers: Sequence[Worker]) -> None:
        assert isinstance(visit.target, DaskTarget)  # noqa: S101 -- made by DaskExam, for the type checker
        self._visit, self._target = visit, visit.target
        self._base = base
        self._workers = workers

    async def scheduler(self) -> list[Finding]:
        """Whether the scheduler's own /metrics is worth scraping."""
        if self._base is None:
            return [NO_HTTP.found("the scheduler names no dashboard port")]
        try:
            native = await self._ask(self._base)
        except CollectError as failure:
            return [HTTP_UNREACHABLE.found(brief(failure))]
        where = f"{self._base}/metrics"
        if native is None:
            return [HTTP_UNREACHABLE.found(f"{where} does not answer as Dask does")]
        return _of_scheduler(native, where)

    async def worker_ports(self) -> list[Finding]:
        """Whether the workers' own /metrics can be reached from here; at most ASKED of them are asked."""
        silent = [worker.labels.pair[0] for worker in self._workers if worker.dashboard_port is None]
        endpoints = spread(dask_native.endpoints(None, "", self._workers), ASKED)
        slots = asyncio.Semaphore(_AT_ONCE)
        answers = await asyncio.gather(*(self._ask_worker(endpoint, slots) for endpoint in endpoints))
        found: list[Finding] = []
        if silent and not any(worker.address.startswith("inproc:") for worker in self._workers):
            found.append(NO_HTTP.found(f"{count(len(silent), 'worker')} without an HTTP port: {some(silent)}"))
        named = [(str(endpoint.labels["worker"]), answer) for endpoint, answer in zip(endpoints, answers, strict=True)]
        blocked = [
            f"{name} ({brief(answer) if answer else 'no metrics'})"
            for name, answer in named
            if not isinstance(answer, Native)
        ]
        if blocked:
            found.append(
                WORKER_PORTS.found(f"{len(blocked)} of {count(len(named), 'worker')} asked: {some(blocked, 2)}")
            )
        return found + _of_answers({name: answer for name, answer in named if isinstance(answer, Native)})

    async def _ask_worker(self, endpoint: NativeEndpoint, slots: asyncio.Semaphore) -> Native | CollectError | None:
        async with slots:
            try:
                return await self._ask(f"{endpoint.scheme}://{endpoint.address}")
            except CollectError as failure:
                return failure

    async def _ask(self, base: str) -> Native | None:
        """None when something else than a text of metrics comes back."""
        http = self._visit.wires.http(self._target, base)
        answer = await http.ask("/metrics", timeout=min(self._target.timeout, 4.0))
        return Native.of(answer) if answer.status == _OK and answer.content_type == "text/plain" else None


def spread(endpoints: Sequence[NativeEndpoint], most: int) -> list[NativeEndpoint]:
    """At most so many, from as many hosts as possible: a firewall is usually a host's."""
    by_host: dict[str, list[NativeEndpoint]] = defaultdict(list)
    for endpoint in endpoints:
        by_host[endpoint.address.rpartition(":")[0]].append(endpoint)
    rounds = max((len(group) for group in by_host.values()), default=0)
    turn = [group[index] for index in range(rounds) for group in by_host.values() if index < len(group)]
    return turn[:most]


def _of_scheduler(native: Native, where: str) -> list[Finding]:
    if not native.series:
        return [NO_PROMETHEUS_CLIENT.found(f"{where} answers 200 without a series")]
    if not native.scheduler:
        return [NATIVE_EMPTY.found(f"{where} has {native.series} series and none of Dask's own")]
    seen = f"{native.prefixes} task prefixes, {native.series} series in {where}"
    if native.series > SAMPLES:
        return [NATIVE_TOO_LARGE.found(f"{seen}; Prometheus takes {SAMPLES}")]
    return [MANY_PREFIXES.found(seen)] if native.prefixes > MANY else []


def _of_answers(answers: dict[str, Native]) -> list[Finding]:
    found: list[Finding] = []
    bare = [name for name, native in answers.items() if not native.series]
    empty = [name for name, native in answers.items() if native.series and not native.worker]
    if bare:
        found.append(NO_PROMETHEUS_CLIENT.found(f"{count(len(bare), 'worker')} without a series: {some(bare)}"))
    if empty:
        found.append(NATIVE_EMPTY.found(f"{count(len(empty), 'worker')} without Dask's own series: {some(empty)}"))
    if any(native.median for native in answers.values()):
        found.append(dask_bugs.MEDIAN.found("the workers have crick installed and give *_median_* metrics"))
    shared = [name for name, native in answers.items() if native.scheduler]
    if shared:
        found.append(SHARED_PROCESS.found(f"/metrics of {some(shared)} has the scheduler's series too"))
    return found
