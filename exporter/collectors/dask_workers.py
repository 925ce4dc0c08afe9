"""Workers as a Dask scheduler's `identity` tells of them.

`identity` (distributed/scheduler.py, WorkerState.identity) repeats each worker's last heartbeat (worker.py,
get_metrics). Versions differ in what they tell; a field that is missing, null or not a number is an absent series.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from exporter.errors import CollectError, Reason
from exporter.families import Labels, amount, clean
from provisioning.config.hosts import LOOPBACK, HostNames

# distributed/core.py, Status. Only these become label values.
STATUSES = frozenset(
    (
        *("undefined", "created", "init", "starting", "running", "paused"),
        *("stopping", "stopped", "closing", "closing_gracefully", "closed", "failed"),
    )
)
# distributed/worker_state_machine.py, TaskStateState. Only these become label values.
TASK_STATES = (
    *("constrained", "error", "executing", "fetch", "flight"),
    *("long-running", "memory", "missing", "ready", "waiting"),
)
OTHER_TASK_STATES = frozenset(("cancelled", "disk", "forgotten", "released", "rescheduled", "resumed"))
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
# 127.1, 2130706433 and 0x7f.1 are 127.0.0.1 to some resolvers and nothing to others.
_ODD_ADDRESS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")
_LONGEST_HOST = 255  # with brackets
_LONGEST_ADDRESS = 300
_MAX_PORT = 65535
MOST_WORKERS = 100_000  # ten times the largest clusters; a worker of 15 bytes on the wire takes 1 KB and 30 us here


@dataclass(slots=True)
class Worker:
    """One worker; None is unknown. Bytes, seconds and ratios of one."""

    address: str
    labels: WorkerLabels
    status: str
    host: str | None
    dashboard_port: int | None
    nanny: float | None
    threads: float | None
    memory_limit: float | None
    rss: float | None
    managed: float | None
    unmanaged: float | None
    spilled_memory: float | None
    spilled_disk: float | None
    cpu: float | None
    open_fds: float | None
    event_loop_interval: float | None
    last_seen: float | None
    tasks: dict[str, float] | None
    transfer: Mapping[str, Any]


class _Plus(dict[str, Labels]):
    """A worker's labels and one more, by its value; the values are few: statuses, states, directions."""

    __slots__ = ("_name", "_pair")

    def __init__(self, pair: tuple[str, str], name: str) -> None:
        super().__init__()
        self._pair, self._name = pair, name

    def __missing__(self, value: str) -> Labels:
        worker, host = self._pair
        labels = self[value] = Labels(worker=worker, host=host, **{self._name: value})
        return labels


class WorkerLabels:
    """The label sets of one worker, made once and used at every collection."""

    __slots__ = ("address", "base", "direction", "pair", "state", "status")

    def __init__(self, worker: str, host: str) -> None:
        self.pair = (worker, host)
        self.base = Labels(worker=worker, host=host)
        self.address = _Plus(self.pair, "address")
        self.status = _Plus(self.pair, "status")
        self.state = _Plus(self.pair, "state")
        self.direction = _Plus(self.pair, "direction")


class Roster:
    """Decodes the workers of `identity` and keeps their labels from one look to the next."""

    def __init__(self, hosts: HostNames, scheduler_host: str) -> None:
        self._hosts = hosts
        self._scheduler_host = scheduler_host
        self._labels: dict[str, WorkerLabels] = {}

    def decode(self, workers: Mapping[Any, Any]) -> tuple[list[Worker], dict[str, WorkerLabels]]:
        """The workers in the scheduler's order, and their labels to be kept; entries that are no workers are left out.

        Raises CollectError (`too_large`) above MOST_WORKERS.
        """
        if len(workers) > MOST_WORKERS:
            raise CollectError(Reason.TOO_LARGE, f"tells of {len(workers)} workers; at most {MOST_WORKERS} are read")
        entries = [
            (address, entry)
            for address, entry in workers.items()
            if isinstance(address, str) and isinstance(entry, dict)
        ]
        kept: dict[str, WorkerLabels] = {}
        taken: set[str] = set()
        decoded = []
        for address, entry in entries:
            host = self._host(address, entry)
            name = _name(entry.get("name"), address)
            shown = clean(name)
            if shown in taken:  # 1 and "1" are two workers to Dask
                name = f"{name} {address}"
                shown = clean(name)
            taken.add(shown)
            pair = (name, self._hosts.name_of(host) if host else "")
            labels = self._labels.get(address)
            if labels is None or labels.pair != pair:
                labels = WorkerLabels(*pair)
            kept[address] = labels
            decoded.append(_decode(address, entry, labels, host))
        return decoded, kept

    def keep(self, labels: dict[str, WorkerLabels]) -> None:
        """Use these labels again at the next look, and no others."""
        self._labels = labels

    def _host(self, address: str, entry: Mapping[Any, Any]) -> str | None:
        """The machine a worker is on, as seen from here; None when it is no valid host."""
        host = host_of(address) or valid_host(entry.get("host"))
        # A worker that told a remote scheduler "127.0.0.1" is on the scheduler's machine, not on ours.
        # In whatever spelling: a scheduler elsewhere must not make Prometheus ask the services of its own machine.
        if host is not None and _is_here(host) and not _is_here(self._scheduler_host):
            return valid_host(self._scheduler_host)
        return host


def valid_host(value: object) -> str | None:
    """`value` when it is an IP address or a host name, without brackets; else None."""
    if not isinstance(value, str) or len(value) > _LONGEST_HOST:
        return None
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare)) if "%" not in bare else None
    except ValueError:
        return bare if _HOST_NAME.fullmatch(bare) else None


@lru_cache(maxsize=16_384)
def _is_here(host: str) -> bool:
    """Whether a host is the machine of whoever asks it, as 127.0.0.2, 0.0.0.0, ::ffff:127.0.0.1 or `localhost.` is."""
    name = host.lower().rstrip(".")
    if name in LOOPBACK or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _ODD_ADDRESS.fullmatch(name) is not None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return address.is_loopback or address.is_unspecified


def valid_port(value: object) -> int | None:
    """`value` when it is a TCP port; Dask tells of a service that is off with 0 or null."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_PORT:
        return None
    return value


def host_of(address: str) -> str | None:
    """The host in a Dask address such as `tcp://10.0.0.5:43210`."""
    # Both caches, ours and that of urlsplit, would keep addresses of any length.
    return _host_of(address) if len(address) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=16_384)  # the same workers at every look
def _host_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        return valid_host(parts.hostname) if parts.scheme in ("tcp", "tls", "ucx", "ucxx", "ws", "wss") else None
    except ValueError:
        return None


def _decode(address: str, entry: Mapping[Any, Any], labels: WorkerLabels, host: str | None) -> Worker:
    metrics = _mapping(entry.get("metrics"))
    spilled = _mapping(metrics.get("spilled_bytes"))
    rss = amount(metrics.get("memory"))
    spilled_memory = amount(spilled.get("memory"))
    # What the worker calls managed includes what it has spilled (scheduler.py, WorkerState.memory).
    stored = amount(metrics.get("managed_bytes"))
    managed = None if stored is None else max(0.0, stored - (spilled_memory or 0.0))
    limit = amount(entry.get("memory_limit"))
    cpu = amount(metrics.get("cpu"))
    status = entry.get("status")
    return Worker(
        address=address,
        labels=labels,
        status=status if isinstance(status, str) and status in STATUSES else "other",
        host=host,
        dashboard_port=valid_port(_mapping(entry.get("services")).get("dashboard")),
        nanny=float(bool(entry["nanny"])) if "nanny" in entry else None,
        threads=amount(entry.get("nthreads")),
        memory_limit=limit if limit is not None and limit > 0 else None,
        rss=rss,
        managed=managed,
        unmanaged=None if rss is None or managed is None else max(0.0, rss - managed),
        spilled_memory=spilled_memory,
        spilled_disk=amount(spilled.get("disk")),
        cpu=None if cpu is None else cpu / 100,
        open_fds=amount(metrics.get("num_fds")),
        event_loop_interval=amount(metrics.get("event_loop_interval")),
        last_seen=amount(entry.get("last_seen")),
        tasks=_tasks(metrics.get("task_counts")),
        transfer=_mapping(metrics.get("transfer")),
    )


def _tasks(counts: object) -> dict[str, float] | None:
    if not isinstance(counts, dict):
        return None
    # 2022.12 tells every count it has, with the rest as "other"; later versions leave out what is 0.
    tasks: dict[str, float] = {} if "other" in counts else dict.fromkeys(TASK_STATES, 0.0)
    for state, value in counts.items():
        count = amount(value)
        if count is not None:
            known = state if state in TASK_STATES or state in OTHER_TASK_STATES else "other"
            tasks[known] = tasks.get(known, 0.0) + count
    return tasks


def _name(name: object, address: str) -> str:
    """Dask names workers by string, by number (local clusters), or by their address."""
    if isinstance(name, str) and name:
        return name
    return str(name) if isinstance(name, int) else address


def _mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
