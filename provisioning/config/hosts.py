"""One name for a machine, however its address is written: the `host` label on node, GPU and Dask series."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from provisioning.config.model import HostTarget

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class HostNames:
    """Maps addresses to configured host names; an address nobody named is its own name."""

    def __init__(self, hosts: Iterable[HostTarget], local_name: str) -> None:
        self._names = dict.fromkeys((*LOOPBACK, local_name.lower()), local_name)
        for host in hosts:
            urls = (host.node_exporter, host.gpu_exporter)
            from_urls = (urlsplit(url).hostname or "" for url in urls if url)
            for address in (host.name, *from_urls, *host.addresses):
                self._names[address.lower()] = host.name

    def name_of(self, address: str) -> str:
        """The name for a bare host name or IP address."""
        return self._names.get(address.lower(), address)
