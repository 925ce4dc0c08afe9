"""One name for a machine, however its address is written: the `host` label on node, GPU and Dask series."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from provisioning.config.model import Config
from provisioning.config.targets import HostTarget

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_this_machine(host: HostTarget, config: Config, machine: str) -> bool:
    """Whether an entry of `targets.hosts` is the machine we run on, whose own host name is `machine`.

    It is when it has that name, or when its node_exporter is the one that runs here. Another port on loopback is a
    tunnel to another machine.
    """
    if host.name.lower() == machine.lower():
        return True
    parts = urlsplit(host.node_exporter or "")
    return parts.hostname in LOOPBACK and str(parts.port) == config.services.node_exporter.rpartition(":")[2]


def this_machine(config: Config, machine: str | None = None) -> str:
    """The `host` label of the machine we run on: its entry in `targets.hosts`, else its own host name."""
    own = machine or socket.gethostname()
    return next((host.name for host in config.targets.hosts if is_this_machine(host, config, own)), own)


class HostNames:
    """Maps addresses to configured host names; an address nobody named is its own name."""

    def __init__(self, hosts: Iterable[HostTarget], local_name: str) -> None:
        self._names = dict.fromkeys((*LOOPBACK, local_name.lower()), local_name)
        for host in hosts:
            urls = (host.node_exporter, host.gpu_exporter)
            from_urls = {urlsplit(url).hostname or "" for url in urls if url} - LOOPBACK
            for address in (host.name, *from_urls, *host.addresses):
                self._names[address.lower()] = host.name

    @classmethod
    def of(cls, config: Config) -> HostNames:
        """The names that `cluster-ai.yml` gives, seen from this machine."""
        names = cls(config.targets.hosts, this_machine(config))
        names._names.setdefault(socket.gethostname().lower(), this_machine(config))
        return names

    def name_of(self, address: str) -> str:
        """The name for a bare host name or IP address."""
        return self._names.get(address.lower(), address)
