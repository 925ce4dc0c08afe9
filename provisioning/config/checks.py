"""What one key cannot show: clashes between entries and files that are not there."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from provisioning.config.access_checks import WEB_CONFIG, disagreements
from provisioning.config.audience_checks import audience_errors, audience_warnings
from provisioning.config.basics import SECRET_FILES, Strict
from provisioning.config.grafana_checks import grafana_errors, grafana_warnings
from provisioning.config.messages import key_text
from provisioning.config.model import Config, Services
from provisioning.config.problems import Problem, brief
from provisioning.config.proxy_checks import proxy_errors, proxy_warnings
from provisioning.config.targets import SYSTEMS
from provisioning.config.yaml_file import Document, Key

_ANY_ADDRESS = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 -- recognised, not bound
_MISSING = "what needs it is not read until the file is there"
_EMPTY = "what needs it is not read until it is filled"
# What it is for the exporter's own file.
_OF_THE_EXPORTER = {
    _MISSING: "the exporter does not start without it",
    _EMPTY: "the exporter then asks for nothing: neither TLS nor a password",
}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def errors_between(config: Config, document: Document) -> list[Problem]:
    """Names used twice and services on one address."""
    return [
        *_same_target_names(config, document),
        *_same_host_addresses(config, document),
        *_same_host_exporters(config, document),
        *_same_person_names(config, document),
        *_same_listen_addresses(config, document),
        *proxy_errors(config, document),
        *audience_errors(config, document),
        *grafana_errors(config, document),
    ]


def warnings_about(config: Config, document: Document) -> list[Problem]:
    """What works but is probably not meant; the product starts all the same."""
    return [
        *_files(config, document),
        *disagreements(config.exporter, document),
        *_same_systems(config, document),
        *_nothing_watched(config, document),
        *proxy_warnings(config, document),
        *audience_warnings(config, document),
        *grafana_warnings(config, document),
    ]


def _problem(document: Document, key: Key, message: str, hint: str) -> Problem:
    return Problem(document.line_of(key), message, hint, key_text(key, document.data))


def _same_target_names(config: Config, document: Document) -> Iterator[Problem]:
    seen: dict[str, Key] = {}
    for system in SYSTEMS:
        for index, target in enumerate(getattr(config.targets, system)):
            key: Key = ("targets", system, index, "name")
            first = seen.setdefault(target.name, key)
            if first != key:
                hint = f"the first is on line {document.line_of(first)}; a name stands for one target of any system"
                yield _problem(document, key, f"the name {brief(target.name)} is used twice", hint)


def _same_host_addresses(config: Config, document: Document) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, host in enumerate(config.targets.hosts):
        for written in dict.fromkeys((host.name, *host.addresses)):
            first = seen.setdefault(written.lower(), index)
            if first != index:
                key: Key = ("targets", "hosts", index, "name" if written == host.name else "addresses")
                line = document.line_of(("targets", "hosts", first))
                hint = f"the other host is on line {line}; put everything about one machine in one entry"
                yield _problem(document, key, f"{brief(written)} already names another host", hint)


def _same_host_exporters(config: Config, document: Document) -> Iterator[Problem]:
    seen: dict[str, Key] = {}
    for index, host in enumerate(config.targets.hosts):
        for name, url in (("node_exporter", host.node_exporter), ("gpu_exporter", host.gpu_exporter)):
            key: Key = ("targets", "hosts", index, name)
            first = seen.setdefault(url, key) if url else key
            if first != key:
                hint = f"the first is on line {document.line_of(first)}; its numbers would be counted twice"
                yield _problem(document, key, f"{url} is given twice", hint)


def _same_person_names(config: Config, document: Document) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, person in enumerate(config.people):
        first = seen.setdefault(person.name.lower(), index)
        if first != index:
            hint = f"the first is on line {document.line_of(('people', first, 'name'))}"
            yield _problem(document, ("people", index, "name"), f"{brief(person.name)} is listed twice", hint)


def _same_listen_addresses(config: Config, document: Document) -> Iterator[Problem]:
    seen: list[tuple[Key, str]] = []
    for key, listen in (*_listen_addresses(config.services), *_proxies(config)):
        for other, taken in seen:
            if _clash(listen, taken):
                # The one that was written is the one to change; the other may be a default.
                ours, given, theirs = (key, listen, other) if key in document.marks else (other, taken, key)
                whose = theirs[1] if theirs[0] == "services" else "a proxy before Ollama"
                message = f"{given} is also where {whose} listens"
                yield _problem(document, ours, message, "give each service a port of its own")
        seen.append((key, listen))


def _clash(one: str, other: str) -> bool:
    """Whether two services cannot both listen: one port on one address, or on every address."""
    hosts, ports = zip(*(listen.lower().rsplit(":", 1) for listen in (one, other)), strict=True)
    same = len({"127.0.0.1" if host in _LOOPBACK else host for host in hosts}) == 1
    return len(set(ports)) == 1 and (same or bool(_ANY_ADDRESS & set(hosts)))


def _listen_addresses(services: Services) -> Iterator[tuple[Key, str]]:
    for service, value in services:
        if service == "exporter" and services.exporter_shards:
            continue
        for index, listen in enumerate(value if isinstance(value, list) else [value]):
            yield ("services", service, index) if isinstance(value, list) else ("services", service), listen


def _proxies(config: Config) -> Iterator[tuple[Key, str]]:
    for index, target in enumerate(config.targets.ollama):
        if target.proxy is not None:
            yield ("targets", "ollama", index, "proxy", "listen"), target.proxy.listen


def _files(config: Config, document: Document) -> Iterator[Problem]:
    for key, path in _paths(config, ()):
        if key[-1] == "write_token_to":  # ours to make
            continue
        found = _file_problem(path, secret=key[-1] in SECRET_FILES)
        if found:
            message, hint = found
            yield _problem(document, key, message, hint if key != WEB_CONFIG else _OF_THE_EXPORTER.get(hint, hint))


def _paths(model: Strict, key: Key) -> Iterator[tuple[Key, Path]]:
    for name, value in model:
        if isinstance(value, Path):
            yield (*key, name), value
        elif isinstance(value, Strict):
            yield from _paths(value, (*key, name))
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                if isinstance(entry, Strict):
                    yield from _paths(entry, (*key, name, index))


def _file_problem(path: Path, *, secret: bool) -> tuple[str, str] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return f"there is no file {path}", _MISSING
    except OSError as error:
        return f"{path} cannot be reached: {error.strerror}", "let the user who runs cluster-ai read it"
    findings = (
        (not stat.S_ISREG(status.st_mode), f"{path} is not a file", "give the path of the file itself"),
        (not os.access(path, os.R_OK), f"{path} cannot be read", "let the user who runs cluster-ai read it"),
        (status.st_size == 0, f"{path} is empty", _EMPTY),
        (
            secret and bool(status.st_mode & stat.S_IROTH),
            f"everyone on this machine can read {path}",
            f"run: chmod 600 {shlex.quote(str(path))}",
        ),
    )
    return next(((message, hint) for wrong, message, hint in findings if wrong), None)


def _same_systems(config: Config, document: Document) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    for system in SYSTEMS:
        for index, target in enumerate(getattr(config.targets, system)):
            name = "scheduler" if system == "dask" else "url"
            address = getattr(target, name)
            first = seen.setdefault((system, address), target.name)
            if first != target.name:
                hint = "one of the two can go, or its numbers are counted twice"
                message = f"{address} is also the target {brief(first)}"
                yield _problem(document, ("targets", system, index, name), message, hint)


def _nothing_watched(config: Config, document: Document) -> Iterator[Problem]:
    if not any(getattr(config.targets, kind) for kind in (*SYSTEMS, "hosts")):
        hint = "add entries under dask, ollama, openwebui or hosts"
        yield _problem(document, ("targets",), "no target is given, so only this machine is watched", hint)
