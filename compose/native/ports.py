"""Who holds a port that a service needs."""

from __future__ import annotations

import errno
import os
import socket
import sys
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `host:port`; an IPv6 host stands in brackets."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it: a wildcard address is reached through loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- read, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_here(address: Address) -> bool:
    """Whether this machine has that address; the port does not count."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address.host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True


def why_not(address: Address) -> str | None:
    """Why nothing can listen there, in a line for people; None when the port is free."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        return f"{address.host} is not an address of this machine ({error.strerror})"
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the services do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"{address} is taken by {holder(address.port)}"
            return f"cannot listen on {address}: {error.strerror}"
    return None


def holder(port: int) -> str:
    """The process that listens on a TCP port, or how to find it when we may not see it."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS shows them to root alone
        return _how_to_look(port)
    listening = [one for one in connections if one.status == psutil.CONN_LISTEN and one.laddr.port == port]
    pids = sorted({one.pid for one in listening if one.pid is not None})
    if not pids:
        return _how_to_look(port)
    return " and ".join(_describe(pid) for pid in pids)


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        name, words = process.name(), process.cmdline()
    except psutil.Error:
        return f"process {pid}"
    command = "".join(char if char.isprintable() else "?" for char in " ".join(words))
    return f"process {pid} ({name}: {command[:80]})" if command else f"process {pid} ({name})"


def _how_to_look(port: int) -> str:
    sudo = "" if os.geteuid() == 0 else "sudo "
    look = f"ss -ltnp 'sport = :{port}'" if sys.platform == "linux" else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return f"a process of somebody else (`{sudo}{look}` shows it)"
