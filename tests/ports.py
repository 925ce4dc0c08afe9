"""Free ports on loopback, from below the range that outgoing connections are given."""

from __future__ import annotations

import contextlib
import random
import socket

_given: set[int] = set()


def free_port(run: int = 1) -> int:
    """The first of `run` ports in a row that nobody listens on and that this process did not give away before.

    A port that the kernel picks (bind to 0) is from the range of outgoing connections, any of which may have it by the
    time a server wants to listen there.
    """
    while True:
        first = random.randrange(12_000, 32_000)  # noqa: S311 -- not a secret
        ports = range(first, first + run)
        if _given.isdisjoint(ports) and all(map(_is_free, ports)):
            _given.update(ports)
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
