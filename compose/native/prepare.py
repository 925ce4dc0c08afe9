"""Everything that comes before the first process: configuration, programs, secrets, rendered files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.native import binaries, demo_config, grafana, neighbours, stack
from compose.native.people import People
from compose.native.places import State, default_cache_dir, shown
from compose.native.ports import Address
from compose.native.record import Record, ServiceRecord, TargetRecord
from compose.native.service import Condition, Service
from provisioning.checked import load_checked
from provisioning.config.audience import needs_bridge
from provisioning.config.load import ConfigError
from provisioning.config.model import Config
from provisioning.config.targets import SYSTEMS
from provisioning.render import Places, RenderError, make_secrets, render

OWN_FILE = Path("cluster-ai.yml")

Say = Callable[[str], None]


class StartError(Exception):
    """Nothing was started; `str()` says why, for people."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asked for."""

    config: Path | None
    listen: Mapping[str, str]
    retry: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run, and the record that `status` reads from the first moment on."""

    services: list[Service]
    record: Record
    people: People | None = None
    """Whom to bring into Grafana; None where none runs."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration and where it came from; `scheduler` is the embedded Dask's, None outside the demo."""

    file: Path
    config: Config
    scheduler: Address | None


def prepare(state: State, wishes: Wishes, say: Say) -> Plan:
    """Makes ready what the services need. Raises StartError."""
    setup = _setup(state, wishes, say)
    neighbour = neighbours.node_exporter(setup.config)
    if neighbour is not None:
        say(f"A node_exporter already answers at {neighbour} and is used; ours is not started.")
    programs = _programs(wishes, say, own_node_exporter=neighbour is None)
    places = Places(
        data=state.root,
        secrets=state.secrets,
        alertmanager=programs.alertmanager is not None,
        grafana=programs.grafana is not None,
        node_exporter=programs.node_exporter is not None or neighbour is not None,
    )
    try:
        make_secrets(places)
        render(setup.config, state.rendered, places=places, source=str(setup.file))
        places.plugins.mkdir(parents=True, exist_ok=True)  # Grafana logs errors where it is missing
    except RenderError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"cannot make {places.plugins}: {error.strerror}") from None
    services = stack.services(setup.config, setup.file, state, programs, setup.scheduler)
    absent = {} if neighbour is None else {"node_exporter": f"the one that already answers at {neighbour} is used"}
    if not needs_bridge(setup.config):
        absent["sms_bridge"] = "nobody is told by SMS, and there is no heartbeat"
    if not any(target.proxy for target in setup.config.targets.ollama):
        absent["ollama_proxy"] = "no Ollama has a proxy"
    shards = enumerate(setup.config.services.exporter_shards, 1)
    absent |= {stack.exporter_name(number): f"{listen} is another machine's" for number, listen in shards}
    people = None
    if programs.grafana is not None:
        url = Address.parse(setup.config.services.grafana).url
        people = People(setup.config, url, places.grafana_admin_password, demo=setup.scheduler is not None)
    return Plan(services, _record(setup, {service.name for service in services}, absent), people)


def _setup(state: State, wishes: Wishes, say: Say) -> Setup:
    """Loads the configuration that was asked for, the one in this folder, or the demo's."""
    own = wishes.config or (OWN_FILE if OWN_FILE.exists() else None)
    scheduler: Address | None = None
    if own is None:
        scheduler = Address.parse(wishes.listen["dask"]) if "dask" in wishes.listen else stack.DEMO_SCHEDULER
        try:
            file = demo_config.write(state, scheduler, stack.dashboard_of(scheduler))
        except RenderError as error:
            raise StartError(str(error)) from None
        say(f"No cluster-ai.yml here: this is the demo, with a Dask cluster of its own ({shown(file)}).")
    else:
        file = own.absolute()
    try:
        loaded = load_checked(file)
    except ConfigError as error:
        raise StartError(str(error)) from None
    for warning in loaded.warnings:
        say(warning.text(file, "warning"))
    return Setup(file, stack.moved(loaded.config, wishes.listen), scheduler)


def _record(setup: Setup, here: set[str], absent: Mapping[str, str]) -> Record:
    """What `status` shows at first; `absent`: why a service is not here, where there is more to say than that."""
    targets = setup.config.targets
    optional = demo_config.OPTIONAL if setup.scheduler is not None else frozenset()
    return Record(
        config=str(setup.file),
        demo=setup.scheduler is not None,
        services=[
            ServiceRecord(name, Condition.STARTING if name in here else Condition.ABSENT, detail=absent.get(name, ""))
            for name in stack.expected(setup.config)
        ],
        targets=[
            TargetRecord(target.name, system, target.name in optional)
            for system in SYSTEMS
            for target in getattr(targets, system)
        ],
    )


def _programs(wishes: Wishes, say: Say, *, own_node_exporter: bool) -> stack.Programs:
    cache = default_cache_dir()
    names = ["prometheus", "alertmanager", *(["node_exporter"] if own_node_exporter else [])]
    found = binaries.provide(names, cache, say, retry=wishes.retry)
    prometheus = found["prometheus"]
    if prometheus is None:
        raise StartError(
            "Prometheus is missing and could not be fetched; put a `prometheus` (2.42 or newer) on PATH and try again."
        )
    for name in names[1:]:
        if found[name] is None:
            say(f"{name} is missing and could not be fetched; going on without. One on PATH is used at the next start.")
    return stack.Programs(
        prometheus=prometheus,
        alertmanager=found["alertmanager"],
        node_exporter=found["node_exporter"] if own_node_exporter else None,
        grafana=grafana.provide(cache, say, retry=wishes.retry),
    )
