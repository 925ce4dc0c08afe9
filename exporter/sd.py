"""Prometheus HTTP service discovery: what to scrape, as JSON.

Format: https://prometheus.io/docs/prometheus/latest/http_sd/ (targets and labels, all strings).
"""

from __future__ import annotations

from typing import Literal, TypedDict, get_args
from urllib.parse import urlsplit

from exporter.families import clean
from exporter.fleet import Fleet
from exporter.native_page import PATH
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, HttpTarget

Kind = Literal["probe", "native"]
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


def natives(fleet: Fleet, exporter: str, scheme: str) -> list[Group]:
    """One entry for each /metrics that a target's own processes serve, as last seen.

    A scheduler with `native: filtered` is scraped through this `exporter` (host:port), by the `scheme` it was asked by.
    """
    groups: list[Group] = []
    for watch in fleet.watches.values():
        for endpoint in watch.collector.native_endpoints():
            labels = {
                **watch.target.labels,
                **{name: clean(value) for name, value in endpoint.labels.items()},
                "target": watch.target.name,
                "system": watch.collector.system,
                "__metrics_path__": endpoint.path,
                "__scheme__": endpoint.scheme,
            }
            address = endpoint.address
            if endpoint.scheduler and isinstance(watch.target, DaskTarget) and watch.target.native == "filtered":
                labels |= {
                    "__metrics_path__": PATH,
                    "__param_target": watch.target.name,
                    "__scheme__": scheme,
                    "instance": address,
                }
                address = exporter
            groups.append({"targets": [address], "labels": labels})
    return groups


def _address(target: DaskTarget | HttpTarget) -> str:
    return target.scheduler if isinstance(target, DaskTarget) else target.url
