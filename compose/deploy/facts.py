"""What this host is like, as far as it decides whether the stack can run on it safely."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from compose.deploy.engine import EngineError, Versions, command, containers, versions
from provisioning.config.model import Config

_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a finding is made from; no finding looks elsewhere."""

    user: int
    """Who runs this."""
    owner: int
    """Whose folder it is."""
    modes: dict[Path, int] = field(default_factory=dict)
    """Of the folder and the files in it that are no secrets."""
    missing: tuple[Path, ...] = ()
    """Files that cluster-ai.yml names and that cannot be read."""
    docker: Versions = field(default_factory=Versions)
    listening: frozenset[tuple[str, int]] = frozenset()
    """Addresses and ports of this host that are taken by something else than us."""
    resolved: tuple[str, ...] = ()
    """Addresses of the domain."""
    own: tuple[str, ...] = ()
    """Addresses of this host."""
    synchronised: bool | None = None
    """Whether something keeps the clock right; None where the system does not say."""
    memory: int = 0
    """Bytes that programs may have, in all."""
    overcommits: bool | None = None
    """Whether the kernel lets Redis copy itself to write its data down; None where the system does not say."""
    free: dict[Path, int] = field(default_factory=dict)
    """Bytes of disk, by the folder that will use them."""
    secrets: tuple[tuple[str, str], ...] = ()
    """Names of secrets and what is wrong with each."""
    unmade: int = 0
    """How many secrets there are not yet."""
    interrupted: tuple[str, ...] = ()
    """Secrets whose replacement was begun and not finished."""
    off_site: str = ""
    """What is wrong with the program that carries backups away."""
    certificate: str = ""
    """What is wrong with the operator's own."""
    running: bool = False
    """Whether our own nginx holds the ports."""


def gather(config: Config, folder: Path) -> Facts:
    """Of this host; the caller adds what is to be said of files and secrets."""
    docker = versions()
    running = False
    if docker.compose:
        with contextlib.suppress(EngineError):
            start = command(folder, production=config.production is not None)
            running = any(one.service == "nginx" and one.state == "running" for one in containers(start))
    root = Path(docker.root) if docker.root else folder
    return Facts(
        user=os.geteuid(),
        owner=folder.stat().st_uid,
        modes={path: path.stat().st_mode for path in (folder, folder / "cluster-ai.yml") if path.exists()},
        docker=docker,
        listening=_listening(),
        resolved=_resolved(config.production.domain) if config.production else (),
        own=_own(),
        synchronised=_synchronised(),
        memory=psutil.virtual_memory().total,
        overcommits=_overcommits(),
        free={path: shutil.disk_usage(path).free for path in {folder, root} if path.exists()},
        running=running,
    )


def _listening() -> frozenset[tuple[str, int]]:
    """From the kernel's own tables, which everybody may read: trying to listen on 443 needs root."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == "0A":
                    address, _, port = local.partition(":")
                    found.add((_address(address), int(port, 16)))
    return frozenset(found)


def _address(text: str) -> str:
    """An address of those tables, in words of four bytes each of which is written backwards."""
    raw = b"".join(int(text[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)  # noqa: PLR2004 -- bytes of IPv4


def _resolved(domain: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(domain, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({str(where[0]) for *_, where in found}))


def _own() -> tuple[str, ...]:
    families = (socket.AF_INET, socket.AF_INET6)
    addresses = [one.address for each in psutil.net_if_addrs().values() for one in each if one.family in families]
    return tuple(sorted(address.partition("%")[0] for address in addresses))


def _overcommits() -> bool | None:
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1"
    except OSError:
        return None


def _synchronised() -> bool | None:
    # Only asks: a structure of zeros says that nothing is to be changed.
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (AttributeError, OSError):  # not Linux
        return None
    return None if state < 0 else state != _UNSYNCHRONISED
