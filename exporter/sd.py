"""Prometheus HTTP service discovery: what to scrape, as JSON.

Format: https://prometheus.io/docs/prometheus/latest/http_sd/ (targets and labels, all strings).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypedDict, get_args
from urllib.parse import urlsplit

from exporter.collectors.base import NativeEndpoint
from exporter.families import clean
from exporter.fleet import Fleet
from exporter.native_page import PATH
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, HttpTarget

Kind = Literal["probe", "native", "filtered"]
KINDS: tuple[str, ...] = get_args(Kind)


class Group(TypedDict):
    """One entry of the discovery answer."""

    targets: list[str]
    labels: dict[str, str]


def probes(fleet: Fleet, exporter: str, hosts: HostNames) -> list[Group]:
    """One entry a configured target: scrape `exporter` (host:port) at /probe for it."""
    groups: list[Group] = []
    for system, target in fleet.targets():
        where = urlsplit(_address(target))
        labels = {
            **target.labels,
            "target": target.name,
            "system": system,
            "instance": where.netloc,
            "host": hosts.name_of(where.hostname or ""),
            "__metrics_path__": "/probe",
            "__param_target": target.name,
        }
        if fleet.watches[target.name].collector.large:
            labels |= {"__scrape_interval__": "15s", "__scrape_timeout__": "10s"}
        groups.append({"targets": [exporter], "labels": labels})
    return groups


def natives(fleet: Fleet) -> list[Group]:
    """One entry for each /metrics that a target's own processes serve, as last seen, but for the filtered ones."""
    return [
        {"targets": [endpoint.address], "labels": labels | {"__scheme__": endpoint.scheme}}
        for endpoint, labels, filtered in _endpoints(fleet)
        if not filtered
    ]


def filtered(fleet: Fleet, exporter: str, scheme: str) -> list[Group]:
    """One entry for each scheduler with `native: filtered`: scraped through this `exporter` (host:port).

    `scheme` is the one the exporter was asked by. A list of its own, because the exporter may want a password, and
    what scrapes addresses that come from a cluster must not hold one.
    """
    through = {"__metrics_path__": PATH, "__scheme__": scheme}
    return [
        {
            "targets": [exporter],
            "labels": labels | through | {"__param_target": labels["target"], "instance": endpoint.address},
        }
        for endpoint, labels, passes in _endpoints(fleet)
        if passes
    ]


def _endpoints(fleet: Fleet) -> Iterator[tuple[NativeEndpoint, dict[str, str], bool]]:
    """Each endpoint with the labels of its target, and whether it is read through the exporter."""
    for watch in fleet.watches.values():
        target = watch.target
        passes = isinstance(target, DaskTarget) and target.native == "filtered"
        for endpoint in watch.collector.native_endpoints():
            labels = {
                **target.labels,
                **{name: clean(value) for name, value in endpoint.labels.items()},
                "target": target.name,
                "system": watch.collector.system,
                "__metrics_path__": endpoint.path,
            }
            yield endpoint, labels, passes and endpoint.scheduler


def _address(target: DaskTarget | HttpTarget) -> str:
    return target.scheduler if isinstance(target, DaskTarget) else target.url
