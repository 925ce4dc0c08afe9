"""Dask's own /metrics: where they are, and whether the scheduler's has real series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from urllib.parse import urlsplit

from exporter.collectors.base import Http, NativeEndpoint
from exporter.collectors.dask_workers import Worker
from exporter.errors import CollectError
from exporter.families import Family, gauge

# The namespace `dask` can be configured (distributed.dashboard.prometheus.namespace). Without prometheus_client the
# answer is a comment with status 200; and one early error makes a scheduler leave out its own series for good
# (dask/distributed#9096), while those of its process and Python stay.
_REAL_SERIES = re.compile(rb"_scheduler_(?:workers|clients|tasks)\b")
_NAMESPACE = re.compile(rb"(?:\A|.*\n)\w{1,100}", re.DOTALL)
_LOOKED_BACK = 102  # bytes before a name
_LOOKED_AT = 1_000  # places that have such a name; comments are among them
_DEFAULT_PORTS = {"http": 80, "https": 443}


def base_url(dashboard: str | None, scheduler_host: str, port: int | None) -> str | None:
    """The scheduler's HTTP address: as configured, or as found from its identity; None when it has none."""
    if dashboard is not None:
        return dashboard
    return None if port is None else f"http://{_bracketed(scheduler_host)}:{port}"


async def availability(http: Http | None, timeout: float) -> list[Family]:
    """Whether the scheduler's /metrics has real series within `timeout` seconds; no `http`: it serves no HTTP."""
    available = gauge(
        "dask_cluster_native_metrics_available",
        "1 when the scheduler's own /metrics answers with real series; 0 when it does not: install prometheus_client"
        " where the scheduler runs and restart it, or open its dashboard port to this exporter. Asked once a minute.",
    )
    available.add(float(http is not None and await _has_series(http, timeout)))
    return [available]


def endpoints(base: str | None, scheduler_label: str, workers: Sequence[Worker]) -> list[NativeEndpoint]:
    """The /metrics of the scheduler and of each worker that serves one."""
    found = []
    if base is not None:
        parts = urlsplit(base)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        found.append(
            NativeEndpoint(
                f"{_bracketed(parts.hostname or '')}:{port}",
                {"host": scheduler_label},
                scheme=parts.scheme,
                path=f"{parts.path.rstrip('/')}/metrics",
                scheduler=True,
            )
        )
    for worker in workers:
        if worker.host is not None and worker.dashboard_port is not None:
            name, host = worker.labels.pair
            address = f"{_bracketed(worker.host)}:{worker.dashboard_port}"
            found.append(NativeEndpoint(address, {"worker": name, "host": host}))
    return found


async def _has_series(http: Http, timeout: float) -> bool:
    try:
        answer = await http.ask("/metrics", timeout=timeout)
    except CollectError:
        return False  # the gauge says so, and the cluster is none the worse for it
    return answer.status == 200 and tells_of_scheduler(answer.body)  # noqa: PLR2004 -- HTTP's OK


def tells_of_scheduler(body: bytes) -> bool:
    """Whether a line begins with one of these names.

    A pattern for whole names would try each beginning of a word: a second for a page made to be slow.
    """
    for found in islice(_REAL_SERIES.finditer(body), _LOOKED_AT):
        at = found.start()
        if _NAMESPACE.fullmatch(body, max(0, at - _LOOKED_BACK), at):
            return True
    return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
