"""The text of a first cluster-ai.yml. It is written as text because its comments are half of its use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from exporter.discover import Service, What

_EXAMPLES = {
    "dask": ("scheduler: tcp://HOST:8786", "No Dask scheduler answered. To watch one:"),
    "ollama": ("url: http://HOST:11434", "No Ollama answered. To watch one:"),
    "openwebui": ("url: http://HOST:3000", "No Open WebUI answered. To watch one:"),
}
_SYSTEMS = {"dask": What.DASK, "ollama": What.OLLAMA, "openwebui": What.OPENWEBUI}
_MOST_MODELS = 20
_NAME_LENGTH = 63
_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_.-]+")


@dataclass(slots=True)
class Machine:
    """One machine that was looked at; `name` is empty for this one."""

    name: str
    services: list[Service] = field(default_factory=list)


def text(machines: Sequence[Machine], local_name: str) -> str:
    """A cluster-ai.yml with everything that was recognised; valid also when nothing was."""
    names = _Names()
    looked = ", ".join(machine.name or "this machine" for machine in machines)
    lines = [
        f"# Begun by `cluster-ai init`, which looked at: {looked}.",
        "# `cluster-ai check` says what is wrong with this file, `cluster-ai doctor` what is wrong with the systems.",
        "# Every key is explained in docs/configuration.md. File names are relative to this file.",
        "",
        "name: cluster # shown on pages and in messages",
        "",
        "targets:",
    ]
    for system in _SYSTEMS:
        lines += [f"  {line}" if line else "" for line in _system(system, machines, names)]
        lines.append("")
    lines += [f"  {line}" for line in _hosts(machines, local_name, _Names())]
    return "\n".join(lines) + "\n"


class _Names:
    """Names of targets and hosts: valid, and each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, wanted: str) -> str:
        base = _NOT_IN_NAMES.sub("-", wanted).lstrip("-_.")[: _NAME_LENGTH - 4] or "unnamed"
        name, number = base, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{base}-{number}"
        self._taken.add(name.lower())
        return name


def _system(system: str, machines: Iterable[Machine], names: _Names) -> Iterator[str]:
    what = _SYSTEMS[system]
    found = [(machine, service) for machine in machines for service in machine.services if service.what is what]
    hints = [line for machine in machines for line in _hints(system, machine)]
    if not found:
        address, sentence = _EXAMPLES[system]
        yield from (f"# {line}" for line in hints or [sentence])
        yield from (f"# {line}" for line in (f"{system}:", f"  - name: {system}", f"    {address}"))
        return
    yield f"{system}:"
    for machine, service in found:
        yield f"  - name: {_scalar(names.free(f'{machine.name}-{system}' if machine.name else system))}"
        yield f"    {'scheduler' if what is What.DASK else 'url'}: {_scalar(service.url)}"
        yield from (f"    # {line}" for line in _options(service))
    yield from (f"  # {line}" for line in hints)


def _options(service: Service) -> Iterator[str]:
    if service.what is What.OLLAMA:
        if service.loaded:
            models = ", ".join(json.dumps(name[:200]) for name in service.loaded[:_MOST_MODELS])
            yield f"must_be_loaded: [{models}] # in memory now; keep those that should stay"
        else:
            yield 'must_be_loaded: ["MODEL"] # models that should stay in memory'
    elif service.what is What.OPENWEBUI:
        yield "api_key_file: secrets/openwebui-key # an administrator's API key; without it the public part is read"


def _hints(system: str, machine: Machine) -> Iterator[str]:
    """What answers without being a target by itself, and tells where one is."""
    if system != "dask":
        return
    kinds = {service.what for service in machine.services}
    for service in machine.services:
        if service.wants_tls:
            yield f"{service.url} wants TLS, as secured Dask schedulers do. Write it with the files of a Dask client:"
            yield f"- {{name: secure, scheduler: {json.dumps(service.url)}, ca_file: secrets/dask-ca.pem,"
            yield "   cert_file: secrets/dask-cert.pem, key_file: secrets/dask-key.pem}"
        elif service.what is What.DASK_DASHBOARD and What.DASK not in kinds:
            yield f"{service.url} is the dashboard of a Dask scheduler that does not answer at port 8786."
        elif service.what is What.DASK_WORKER:
            yield f"{service.url} is a Dask worker; its scheduler is at {json.dumps(service.scheduler[:200])}."


def _hosts(machines: Iterable[Machine], local_name: str, names: _Names) -> Iterator[str]:
    keys = {What.NODE_EXPORTER: "node_exporter", What.GPU_EXPORTER: "gpu_exporter"}
    entries: list[str] = []
    for machine in machines:
        exporters = {keys[service.what]: service.url for service in machine.services if service.what in keys}
        if exporters:
            entries.append(f"  - name: {_scalar(names.free(machine.name or local_name))}")
            entries += [f"    {key}: {_scalar(url)}" for key, url in sorted(exporters.items(), reverse=True)]
    if entries:
        yield "hosts: # machines; this one is watched without an entry"
        yield from entries
        return
    yield "hosts: [] # machines with a node_exporter or a GPU exporter; this one is watched without an entry"
    yield "# - {name: gpu-1, node_exporter: http://HOST:9100, gpu_exporter: http://HOST:9400}"


def _scalar(value: str) -> str:
    """As YAML: plain where nothing can be misread, else quoted."""
    return (
        value if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./:-]*[A-Za-z0-9]", value) and not _odd(value) else json.dumps(value)
    )


def _odd(value: str) -> bool:
    return ": " in value or value.lower() in {"yes", "no", "on", "off", "true", "false", "null"}
