"""What the examination of one target is made of."""

from __future__ import annotations

import abc
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from exporter.client.wires import TargetWires
from exporter.collectors.base import Clock
from exporter.doctor.findings import Finding
from provisioning.config.hosts import LOOPBACK, HostNames
from provisioning.config.targets import DaskTarget, HostTarget, HttpTarget

Check = Callable[[], Awaitable[list[Finding]]]
LOOK_SECONDS = 2.0  # a question beside the target itself: who else is there, does it speak TLS


@dataclass(slots=True)
class Visit:
    """One target, the connections to it, and what the checks learn for one another."""

    system: str
    name: str
    address: str
    target: DaskTarget | HttpTarget | HostTarget
    wires: TargetWires
    hosts: HostNames
    clock: Clock
    own_addresses: tuple[str, ...] = ()  # of this machine, loopback aside
    version: str = ""
    explained: set[str] = field(default_factory=set)  # parts of a collection whose failure a finding explains

    @property
    def url(self) -> SplitResult:
        """The address in its pieces."""
        return urlsplit(self.address)


class Exam(abc.ABC):
    """How one system is examined. `answered` says after `knock` whether the other checks make sense."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.answered = False

    @abc.abstractmethod
    async def knock(self) -> list[Finding]:
        """Whether the target answers as itself."""

    @abc.abstractmethod
    def checks(self) -> Mapping[str, Check]:
        """The other checks by what they look at, in words that follow "checked:"."""

    async def close(self) -> None:  # noqa: B027 -- most use the visit's connections
        """Close connections of its own."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine speaking to itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK


def count(number: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: list[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(name[:80] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
