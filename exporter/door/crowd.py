"""Bounds how many connections stand at once, so that file descriptors are left for asking targets."""

from __future__ import annotations

import asyncio
import resource

from aiohttp import web

MOST = 1_000
_SHARE = 2  # of the process's file descriptors, one in so many may be a client's
_ENOUGH = 65_536


class Crowd:
    """Makes the protocol of each new connection; the oldest that asks nothing goes when there are too many.

    Somebody who opens connections and says nothing could otherwise take every descriptor within a second: Prometheus
    would not be let in, and every target would look down because no socket is left to ask it.
    """

    def __init__(self, protocol: web.Server, most: int | None = None) -> None:
        """At most `most` connections: MOST, or half of what the process may open if that is less."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._protocol = protocol
        self._most = min(MOST, soft // _SHARE if soft > 0 else MOST) if most is None else most

    def __call__(self) -> asyncio.BaseProtocol:
        """For `create_server`."""
        # Many are accepted in one turn of the event loop, and known to the protocol in the next.
        asyncio.get_running_loop().call_later(0, self._thin_out)
        return self._protocol()

    def _thin_out(self) -> None:
        connections = self._protocol.connections
        over = len(connections) - self._most
        for handler in connections if over > 0 else ():
            if over <= 0:
                return
            if handler._current_request is None:  # noqa: SLF001 -- aiohttp tells nobody whether a request is under way
                handler.force_close()
                over -= 1


def want_descriptors() -> None:
    """Take as many file descriptors as the machine gives; shells and systemd set 1,024 for programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _ENOUGH) if hard > 0 else _ENOUGH
    if 0 < soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return  # what there is has to do
