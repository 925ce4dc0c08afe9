"""Sees to it that file descriptors are left, for new clients and for reaching Ollama, however many clients stay."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from exporter.proxy.relay import Client

log = logging.getLogger(__name__)
FULL, ROOMY = 0.9, 0.85
"""Shares of the descriptors: in use when clients have to go, and then."""
_LOOK = 0.1  # s in which many may come
_SILENCE = 60.0  # s between two lines that clients had to go


class Crowd:
    """Makes the protocol of each new connection; the oldest that ask nothing go when there are too many."""

    def __init__(
        self, make: Callable[[], Client], open_ones: AbstractSet[Client], descriptors: int | None = None
    ) -> None:
        """`descriptors`: how many there are, where the process's own limit is not meant."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._make = make
        self._open_ones = open_ones
        self._descriptors = descriptors if descriptors is not None else soft
        self._looking = False
        self._silent_until = float("-inf")

    def __call__(self) -> Client:
        """For `create_server`."""
        at_worst = 2 * len(self._open_ones)
        if not self._looking and at_worst >= FULL * self._descriptors > 0:
            self._looking = True
            asyncio.get_running_loop().call_later(_LOOK, self._thin_out)
        return self._make()

    def _thin_out(self) -> None:
        self._looking = False
        used = sum(client.descriptors for client in self._open_ones)
        if used < FULL * self._descriptors:
            return
        now = asyncio.get_running_loop().time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            log.warning("%d clients are connected, more than may be: the oldest idle ones go", len(self._open_ones))
        for client in sorted(self._open_ones, key=lambda client: client.opened):
            if used <= ROOMY * self._descriptors:
                return
            if client.idle:
                used -= client.descriptors
                client.abort()
