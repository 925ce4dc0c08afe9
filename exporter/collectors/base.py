"""What a collector is: named parts that ask one target and give metric families.

A new system is one module here with a `COLLECTOR`; the registry in `exporter.collectors` finds it, and success,
duration, errors, liveness, deadline, caching and the series cap come from `exporter.scrape` for free.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from exporter.errors import REFUSALS, CollectError
from exporter.families import Family
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, HttpTarget, System

T = TypeVar("T")
Clock = Callable[[], float]  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of any status."""

    status: int
    content_type: str
    body: bytes
    date: str = ""  # the Date header as sent: the server's clock


class Http(Protocol):
    """HTTP to one target. Both methods raise CollectError; redirects are never followed."""

    async def ask(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Answer:
        """The answer whatever its status; `key` sends the target's API key, `timeout` (s) bounds this call alone."""

    async def json(
        self, path: str, *, method: str = "GET", json: object = None, key: bool = False, timeout: float | None = None
    ) -> Any:
        """The decoded body of a 200 that is JSON; any other status or content is a CollectError."""


class Rpc(Protocol):
    """Dask's scheduler RPC, limited to a fixed list of operations that only read."""

    async def call(self, op: str, **arguments: object) -> Any:
        """The decoded reply: dicts, lists, str, bytes, numbers. Raises CollectError."""


class Wires(Protocol):
    """Makes the connections of a target; the one given to collectors lives in `exporter.client`."""

    def http(self, target: DaskTarget | HttpTarget, base_url: str | None = None) -> Http:
        """HTTP to the target's `url`, or to `base_url` with the target's certificates and no credentials."""

    def rpc(self, target: DaskTarget) -> Rpc:
        """Scheduler RPC to a Dask target."""


@dataclass(frozen=True, slots=True)
class Part:
    """One named piece of a collection.

    `ask` returns the families it learned. With `keep`, seconds, its last answer is used again until it is that
    old: for calls that cost the target real work. A kept part runs on after the scrape that started it hit its
    deadline, for at most `patience` seconds, so that an answer slower than a scrape still arrives.
    """

    ask: Callable[[], Awaitable[list[Family]]]
    keep: float = 0.0
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one part went at this collection: `error` is None when it gave its families."""

    seconds: float
    error: CollectError | None = None
    kept: bool = False  # families are from an earlier collection


@dataclass(frozen=True, slots=True)
class NativeEndpoint:
    """A /metrics that belongs to the target itself, to be scraped directly by Prometheus."""

    address: str  # host:port
    labels: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "http"
    path: str = "/metrics"
    scheduler: bool = False  # a Dask scheduler's, which can also be had filtered

    @property
    def base(self) -> str:
        """The address that its path is below."""
        return f"{self.scheme}://{self.address}{self.path.removesuffix('/metrics')}"


class Collector(abc.ABC):
    """One target's state and how to ask it. Made once a target and kept across scrapes and reloads."""

    system: ClassVar[System]
    prefix: ClassVar[str]  # of its metrics: dask_cluster, ollama, openwebui
    part_names: ClassVar[tuple[str, ...]]  # every name `parts` may give, for documentation and pre-created series

    large: bool = False  # costs its target and Prometheus so much that a look every 15 s is enough
    withheld: int = 0  # series this collector itself left out at the last collection to stay under the limit

    @classmethod
    @abc.abstractmethod
    def build(cls, target: Any, wires: Wires, hosts: HostNames, clock: Clock) -> Collector:
        """A collector for a configured target; opens nothing yet."""

    @abc.abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """The parts of one collection; called at each, so that parts can share what one of them asked."""

    def standing(self) -> list[Family]:
        """Families from memory (counters), given at every collection, also while the target is down."""
        return []

    def is_up(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether the target answered as itself at this collection: any fresh answer or a refused key."""
        return any(
            not outcome.kept and (outcome.error is None or outcome.error.reason in REFUSALS)
            for outcome in outcomes.values()
        )

    def native_endpoints(self) -> list[NativeEndpoint]:
        """The target's own /metrics endpoints, as last seen."""
        return []

    async def close(self) -> None:  # noqa: B027 -- most collectors run nothing beside
        """End what runs beside the collections; called when the target is no longer watched."""


def once(ask: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """`ask`, run at most once: every caller gets its one result or its one error.

    Lets parts of one collection share a call. A caller that is cancelled does not cancel the others; when the last
    one is, nobody wants the answer any more and the call is cancelled too.
    """
    task: asyncio.Future[T] | None = None
    waiting = 0

    async def shared() -> T:
        nonlocal task, waiting
        if task is None:
            task = asyncio.ensure_future(ask())
            task.add_done_callback(_retrieve)
        waiting += 1
        try:
            return await asyncio.shield(task)
        finally:
            waiting -= 1
            if not waiting:
                task.cancel()

    return shared


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Mark the error as seen: the callers that waited have it, and one that was cancelled no longer wants it."""
    if not task.cancelled():
        task.exception()
