"""What is unsafe or will not work, from facts: one line each, with what to do."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from compose.deploy.facts import Facts
from provisioning.config.model import Config
from provisioning.config.targets import SYSTEMS

GIB = 1 << 30
OLDEST_ENGINE = (25, 0)  # asks often how a container is while it starts
OLDEST_COMPOSE = (2, 20)  # knows services that may be absent from those that wait for them
LEAST_MEMORY = 2 * GIB
LEAST_DISK = 5 * GIB
_STOPPED = re.compile("cannot connect to the docker daemon|failed to connect to the docker api", re.IGNORECASE)
_UNITS = {"MB": 1 << 20, "GB": GIB, "TB": 1 << 40}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    name: str
    what: str
    todo: str
    fatal: bool = True
    """Whether nothing may start before it is mended."""

    def __str__(self) -> str:
        return f"{'error' if self.fatal else 'warning'}: {self.name}: {self.what}; {self.todo}"


Check = Callable[[Config, Facts], Iterator[Finding]]


def findings(config: Config, facts: Facts) -> list[Finding]:
    """All of them, what keeps the stack from starting first."""
    found = [finding for check in CHECKS for finding in check(config, facts)]
    return sorted(found, key=lambda finding: not finding.fatal)


def _docker(_config: Config, facts: Facts) -> Iterator[Finding]:
    docker = facts.docker
    if not docker.engine:
        denied = "permission denied" in docker.why
        todo = "let this user run docker (group docker, or a rootless engine)" if denied else "install Docker Engine"
        if _STOPPED.search(docker.why) and not denied:
            yield Finding("docker-stopped", docker.why, "systemctl enable --now docker")
        else:
            yield Finding("docker-missing", docker.why or "Docker does not answer", todo)
    elif _version(docker.engine) < OLDEST_ENGINE:
        yield Finding("docker-old", f"Docker {docker.engine} is older than 25.0", "install a newer Docker Engine")
    if docker.engine and not docker.compose:
        yield Finding("compose-missing", "there is no Compose plugin", "install docker-compose-plugin, 2.20 or newer")
    elif docker.compose and _version(docker.compose) < OLDEST_COMPOSE:
        yield Finding("compose-old", f"Compose {docker.compose} is older than 2.20", "install a newer plugin")


def _owner(_config: Config, facts: Facts) -> Iterator[Finding]:
    if facts.user == 0 or facts.owner == 0:
        yield Finding(
            "runs-as-root",
            "the installation is root's, and containers run as its owner",
            "make a user for it: useradd --create-home --groups docker cluster-ai; give it the folder and be that user",
        )
    elif facts.user != facts.owner:
        yield Finding("not-the-owner", "the folder belongs to another user", "run this as its owner")
    for path, mode in facts.modes.items():
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield Finding("open-to-others", f"others may write {path}", f"chmod go-w {path}")


def _secrets(_config: Config, facts: Facts) -> Iterator[Finding]:
    for name, problem in facts.secrets:
        yield Finding("secret-bad", f"{name}: {problem}", "`cluster-ai secrets list` shows them all")
    if facts.unmade:
        yield Finding("secrets-missing", f"{facts.unmade} are not there yet", "`deploy up` makes them", fatal=False)
    for name in facts.interrupted:
        todo = f"`deploy compose run --rm admin secrets rotate {name}` finishes it"
        yield Finding("rotation-interrupted", f"{name} is half replaced", todo, fatal=False)
    for path in facts.missing:
        yield Finding("file-missing", f"{path} cannot be read", "make it, or correct its path in cluster-ai.yml")
    if facts.off_site:
        yield Finding("off-site-bad", facts.off_site, "chmod +x it, or correct production.backup.off_site")
    if facts.certificate:
        yield Finding("certificate-bad", facts.certificate, "correct production.certificate")


def _ports(config: Config, facts: Facts) -> Iterator[Finding]:
    if config.production is None or facts.running:
        return
    for key in ("http", "https"):
        address = getattr(config.production, key)
        host, _, port = address.rpartition(":")
        taken = [where for where, number in facts.listening if number == int(port) and _same(where, host.strip("[]"))]
        if taken:
            todo = f"see what it is (ss -ltnp 'sport = :{port}') and stop it, or set production.{key}"
            yield Finding("port-taken", f"something listens on port {port} ({', '.join(sorted(taken))})", todo)


def _name(config: Config, facts: Facts) -> Iterator[Finding]:
    if config.production is None:
        return
    domain, acme = config.production.domain, config.production.certificate.acme is not None
    if not facts.resolved:
        todo = "add an A or AAAA record that points to this host"
        yield Finding("name-unknown", f"{domain} has no address", todo, fatal=acme)
    elif not set(facts.resolved) & set(facts.own):
        yield Finding(
            "name-elsewhere",
            f"{domain} is {', '.join(facts.resolved)}, which is no address of this host",
            "correct the record, unless a router or load balancer there passes ports 80 and 443 on to here",
            fatal=False,
        )


def _clock(_config: Config, facts: Facts) -> Iterator[Finding]:
    if facts.synchronised is False:
        todo = "run an NTP client, such as systemd-timesyncd or chrony"
        what = "nothing keeps this host's clock right; certificates, sign-ins and alerts go by it"
        yield Finding("clock-free", what, todo, fatal=False)


def _room(config: Config, facts: Facts) -> Iterator[Finding]:
    if facts.memory < LEAST_MEMORY:
        what = f"this host has {facts.memory / GIB:.1f} GiB of memory, and the stack wants 2"
        yield Finding("memory-small", what, "take a larger host", fatal=facts.memory < GIB)
    if config.production is not None and facts.overcommits is False:
        what = "vm.overcommit_memory is not 1: when memory is short Redis cannot write its data down"
        todo = "echo vm.overcommit_memory=1 > /etc/sysctl.d/60-redis.conf && sysctl --system"
        yield Finding("overcommit-off", what, todo, fatal=False)
    for path, free in facts.free.items():
        if free < LEAST_DISK:
            yield Finding("disk-full", f"{free / GIB:.1f} GiB are free in {path}", "make room: 5 GiB are the least")
    size = re.fullmatch(r"([0-9]+)(MB|GB|TB)", config.retention.size)
    wanted = int(size[1]) * _UNITS[size[2]] if size else 0
    least = min(facts.free.values(), default=wanted)
    if LEAST_DISK <= least < wanted:
        what = f"metrics may grow to {config.retention.size}, and {least / GIB:.1f} GiB are free"
        yield Finding("disk-small", what, "make room, or set retention.size", fatal=False)


def _binds(config: Config, _facts: Facts) -> Iterator[Finding]:
    """Only nginx is published; what `services` says counts for `cluster-ai up`, which has no door before it."""
    for key, value in config.services:
        for address in value if isinstance(value, list) else [value]:
            if not _loopback(address.rpartition(":")[0].strip("[]")):
                what = f"services.{key} is {address}: with `cluster-ai up` it would be open without a password"
                yield Finding("public-bind", what, "take it out; in containers nginx is the only door")


def _loopback_targets(config: Config, _facts: Facts) -> Iterator[Finding]:
    for system in SYSTEMS:
        for target in getattr(config.targets, system):
            url = getattr(target, "scheduler", None) or target.url
            if _loopback(urlsplit(url).hostname or ""):
                what = f"{target.name} is {url}, which in a container is the container itself"
                yield Finding("target-loopback", what, "give an address of this host that it listens on")
            proxy = getattr(target, "proxy", None)
            if proxy is not None and _loopback(proxy.listen.rpartition(":")[0].strip("[]")):
                what = f"the proxy of {target.name} listens on {proxy.listen}, where no other container reaches it"
                yield Finding("proxy-loopback", what, "let it listen on 0.0.0.0")


CHECKS: tuple[Check, ...] = (
    _docker,
    _owner,
    _secrets,
    _ports,
    _name,
    _clock,
    _room,
    _binds,
    _loopback_targets,
)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _same(one: str, other: str) -> bool:
    """Whether two sockets cannot listen on one port of these addresses."""
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 -- recognised, not bound
    return one == other or bool({one, other} & everywhere)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def missing(paths: Iterator[Path]) -> tuple[Path, ...]:
    """Those of the files that cannot be read."""
    return tuple(sorted({path for path in paths if not _readable(path)}))


def _readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
