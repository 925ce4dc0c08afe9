"""Addresses as people write them in the file, checked where they are read; errors say how to write them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from provisioning.config.problems import brief

HIGHEST_PORT = 65535
_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")
# Addresses that mean "listen everywhere", and where such a part is reached from its own machine.
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 -- recognised, not bound


def http_url(value: object) -> str:
    """An http:// or https:// base address, without the slash at its end. Raises ValueError."""
    return _url(value, ("http://", "https://"), "http://10.0.0.7:11434")


def scheduler_url(value: object) -> str:
    """A Dask scheduler's address, tcp:// or tls://, with its port. Raises ValueError."""
    url = _url(value, ("tcp://", "tls://"), "tcp://10.0.0.5:8786")
    parts = urlsplit(url)
    if parts.port is None or parts.path:
        raise ValueError(f"{brief(url)} needs a port and no path; write it like tcp://10.0.0.5:8786")
    return url


def listen_address(value: object) -> str:
    """Where a service listens, `host:port`, an IPv6 host in brackets. Raises ValueError."""
    text = str(value)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _HOST.fullmatch(bare) or (":" in bare) != (bare != host) or not re.fullmatch("[1-9][0-9]*", port):
        raise ValueError(f"{brief(text)} is not an address; write host:port, such as 127.0.0.1:9090")
    if len(port) > len(str(HIGHEST_PORT)) or int(port) > HIGHEST_PORT:
        raise ValueError(f"{brief(text)} has no valid port; {HIGHEST_PORT} is the highest")
    return text


def _url(value: object, schemes: tuple[str, str], example: str) -> str:
    meant = f"write it like {example}"
    text = str(value)
    if "@" in text.rpartition("//")[2].partition("/")[0]:
        # The address is not shown: it holds a password.
        raise ValueError("a user name or password does not belong in an address; keep passwords in files of their own")
    if not text.startswith(schemes):
        raise ValueError(f"{brief(text)} does not begin with {' or '.join(schemes)}; {meant}")
    if "?" in text or "#" in text:
        raise ValueError(f"an address ends before '?' and '#'; {meant}")
    if not text.isprintable() or " " in text or not _has_good_host(text):
        raise ValueError(f"{brief(text)} has no valid host or port; {meant}")
    return text.rstrip("/")


def _has_good_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.port != 0 and _HOST.fullmatch(parts.hostname or "") is not None
    except ValueError:  # an open bracket, a port that is no number or too large
        return False


def dial_address(listen: str) -> str:
    """Where a part that listens on `listen` is reached from this machine: `0.0.0.0:9090` as `127.0.0.1:9090`."""
    host, _, port = listen.rpartition(":")
    return f"{ANY_ADDRESS.get(host, host)}:{port}"
