"""Makes and closes the connections of one target."""

from __future__ import annotations

import asyncio

from exporter.client.http import HttpClient, http_client
from exporter.client.rpc import RpcClient
from exporter.collectors.base import Http, Rpc
from provisioning.config.targets import DaskTarget, HttpTarget


class TargetWires:
    """The connections one collector asked for, so that they can be closed with it."""

    def __init__(self) -> None:
        self._open: list[HttpClient | RpcClient] = []

    def http(self, target: DaskTarget | HttpTarget, base_url: str | None = None) -> Http:
        """HTTP to the target's `url`, or to `base_url` with the target's certificates and no credentials."""
        client = http_client(target, base_url)
        self._open.append(client)
        return client

    def rpc(self, target: DaskTarget) -> Rpc:
        """Scheduler RPC to a Dask target."""
        client = RpcClient(target)
        self._open.append(client)
        return client

    def certificate_expiry(self) -> float | None:
        """When the first of the target's certificates ends, in seconds since the epoch; None before TLS was spoken."""
        return min((end for client in self._open if (end := client.certificate_expiry) is not None), default=None)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(client.close() for client in self._open))
