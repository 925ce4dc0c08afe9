"""Where to listen: addresses as people write them, and sockets that systemd opened for us."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

from provisioning.config.addresses import listen_address

_FIRST = 3  # sd_listen_fds(3): descriptors begin here
_NAMES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen; an empty host is every address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """As people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NoSocketsError(Exception):
    """systemd handed over nothing; `str()` says what to do."""


class CannotListenError(OSError):
    """An address cannot be had; `str()` says which, why, and what to do."""

    def __init__(self, where: Address, error: OSError) -> None:
        super().__init__(f"{where}: {_why(error)}")


def address(text: str) -> Address:
    """`127.0.0.1:9860`, `[::1]:9860`, `:9860` (every address), port 0 for any free one. Raises ValueError."""
    if text.startswith(":"):
        return Address("", address(f"localhost{text}").port)
    host, _, port = text.rpartition(":")
    if port == "0":
        return Address(address(f"{host}:1").host, 0)
    listen_address(text)
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another program, maybe another exporter; stop it (`ss -ltnp` shows it) or take another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if error.errno == errno.EACCES:
        return "ports below 1024 need a right that this user does not have; take a higher one"
    if isinstance(error, socket.gaierror):
        return "this is a host name nobody knows"
    return error.strerror or str(error)


def systemd_sockets(environ: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The sockets of a socket-activated service, in systemd's order.

    Protocol: sd_listen_fds(3). The variables are taken out of the environment, so that no child claims the sockets.
    Raises NoSocketsError.
    """
    environ = os.environ if environ is None else environ
    pid, count, _ = (environ.pop(name, "") for name in _NAMES)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        raise NoSocketsError("systemd handed over no sockets; start this as the service of a .socket unit")
    sockets = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(descriptor, False)
        sockets.append(socket.socket(fileno=descriptor))
    return sockets
