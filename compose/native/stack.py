"""The services of the stack, made from the configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compose.native.access import Access
from compose.native.grafana import Grafana
from compose.native.places import State, shown
from compose.native.ports import Address, is_here
from compose.native.service import Service
from provisioning.config.audience import needs_bridge
from provisioning.config.durations import format_duration
from provisioning.config.model import Config

DEMO_SCHEDULER = Address("127.0.0.1", 18786)  # beside Dask's own 8786, which may be in use
NOT_DISKS = "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
PROXY_GRACE = 40.0  # s; answers under way have 30 to end, then its workers and its metrics go
NAMES = ("exporter", "prometheus", "alertmanager", "sms_bridge", "ollama_proxy", "node_exporter", "grafana", "dask")


@dataclass(frozen=True, slots=True)
class Programs:
    """What runs; None for what this machine does not have."""

    prometheus: Path
    alertmanager: Path | None
    node_exporter: Path | None
    grafana: Grafana | None


def services(config: Config, file: Path, state: State, programs: Programs, demo: Address | None) -> list[Service]:
    """Every service that can run here, in the order people read them. `demo`: the embedded Dask's scheduler."""
    made = [*_exporters(config, file), _prometheus(config, state, programs.prometheus)]
    if programs.alertmanager is not None:
        made.append(_alertmanager(config, state, programs.alertmanager))
    if needs_bridge(config):
        made.append(_sms_bridge(config, file, state))
    if any(target.proxy for target in config.targets.ollama):
        made.append(_ollama_proxy(config, file))
    if programs.node_exporter is not None:
        made.append(_node_exporter(config, state, programs.node_exporter))
    if programs.grafana is not None:
        made.append(_grafana(config, state, programs.grafana, demo=demo is not None))
    if demo is not None:
        made.append(_dask(state, demo))
    return made


def expected(config: Config) -> tuple[str, ...]:
    """The names of all services, whether or not they can run here; a shard is a service of its own."""
    exporters = [exporter_name(number) for number, _ in enumerate(config.services.exporter_shards, 1)]
    return (*(exporters or ["exporter"]), *(name for name in NAMES if name != "exporter"))


def exporter_name(shard: int) -> str:
    """The service that runs the K-th shard."""
    return f"exporter-{shard}"


def moved(config: Config, listen: Mapping[str, str]) -> Config:
    """The configuration with some services listening elsewhere. An exporter that is moved is one, without shards."""
    here: dict[str, Any] = {name: address for name, address in listen.items() if name != "dask"}
    if "exporter" in here:
        here["exporter_shards"] = []
    return config.model_copy(update={"services": config.services.model_copy(update=here)})


def dashboard_of(scheduler: Address) -> Address:
    """Where the embedded Dask serves HTTP: the port after its scheduler's, as with Dask's own 8786 and 8787."""
    return Address(scheduler.host, scheduler.port + 1)


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    # -P: the folder somebody happens to be in must not offer modules in place of ours.
    return (sys.executable, "-P", "-m", module, *arguments)


def _service(name: str, listen: Address, command: tuple[str, ...], ready: str, note: str = "") -> Service:
    return Service(name, command, listen.url + ready, listen.url, (listen,), note=note)


def _exporters(config: Config, file: Path) -> list[Service]:
    """The exporter; where the file shares the targets among several, those of this machine."""
    shards = [Address.parse(listen) for listen in config.services.exporter_shards]
    if not shards:
        return [_exporter(config, file, "exporter", Address.parse(config.services.exporter))]
    return [
        _exporter(config, file, exporter_name(number), listen, "--shard", f"{number}/{len(shards)}")
        for number, listen in enumerate(shards, 1)
        if is_here(listen)
    ]


def _exporter(config: Config, file: Path, name: str, listen: Address, *more: str) -> Service:
    told = ("--alertmanager.address", config.services.alertmanager, "--config", str(file))  # --listen may have moved it
    command = _python("provisioning.cli", "exporter", *told, "--web.listen-address", str(listen), *more)
    url = listen.url.replace("http:", f"{config.exporter.scheme}:", 1)
    return Service(name, command, f"{url}/-/ready", url, (listen,), access=Access(config.exporter))


def _prometheus(config: Config, state: State, program: Path) -> Service:
    listen = Address.parse(config.services.prometheus)
    command = (
        str(program),
        f"--config.file={state.rendered}/prometheus.yml",
        f"--storage.tsdb.path={state.root}/prometheus",
        f"--storage.tsdb.retention.time={format_duration(config.retention.time)}",
        f"--storage.tsdb.retention.size={config.retention.size}",
        f"--web.listen-address={listen}",
    )
    return _service("prometheus", listen, command, "/-/ready")


def _alertmanager(config: Config, state: State, program: Path) -> Service:
    listen = Address.parse(config.services.alertmanager)
    command = (
        str(program),
        f"--config.file={state.rendered}/alertmanager.yml",
        f"--storage.path={state.root}/alertmanager",
        f"--web.listen-address={listen}",
        "--cluster.listen-address=",  # alone: no gossip port on every address
        "--data.maintenance-interval=1m",  # a crash forgets no acknowledgement older than this
    )
    return _service("alertmanager", listen, command, "/-/ready")


def _sms_bridge(config: Config, file: Path, state: State) -> Service:
    listen = Address.parse(config.services.sms_bridge)
    command = _python(
        "provisioning.cli",
        "sms-bridge",
        *("--config", str(file)),
        *("--web.listen-address", str(listen)),
        *("--token-file", str(state.secrets / "sms-bridge-token")),
        *("--ledger", str(state.root / "sms-bridge/ledger.db")),
    )
    return _service("sms_bridge", listen, command, "/-/ready")


def _ollama_proxy(config: Config, file: Path) -> Service:
    listen = Address.parse(config.services.ollama_proxy)
    command = _python("provisioning.cli", "proxy", "--config", str(file), "--web.listen-address", str(listen))
    service = _service("ollama_proxy", listen, command, "/-/ready")
    fronts = [Address.parse(target.proxy.listen) for target in config.targets.ollama if target.proxy]
    workers = map(Address.parse, config.services.ollama_proxy_workers)
    return replace(service, ports=(listen, *workers, *fronts), grace=PROXY_GRACE)


def _node_exporter(config: Config, state: State, program: Path) -> Service:
    listen = Address.parse(config.services.node_exporter)
    # Debian's build has the systemd collector on, which logs an error at every scrape without systemd, and leaves out
    # /mnt and /media, where the disks with models and results often are. Builds for other systems differ in both.
    linux = ("--no-collector.systemd", f"--collector.filesystem.mount-points-exclude={NOT_DISKS}")
    command = (
        str(program),
        f"--web.listen-address={listen}",
        f"--collector.textfile.directory={state.textfile}",
        *(linux if sys.platform == "linux" else ()),
    )
    return _service("node_exporter", listen, command, "/metrics")


def _grafana(config: Config, state: State, grafana: Grafana, *, demo: bool) -> Service:
    listen = Address.parse(config.services.grafana)
    command = tuple(grafana.command(state.rendered / "grafana/grafana.ini"))
    if demo:
        who = f"users admin, operator and viewer, passwords in {shown(state.secrets)}"
    else:
        who = f"user admin, password in {shown(state.secrets / 'grafana-admin-password')}"
    return _service("grafana", listen, command, "/api/health", who)


def _dask(state: State, scheduler: Address) -> Service:
    dashboard = dashboard_of(scheduler)
    command = _python(
        "compose.native.demo",
        *("--scheduler", str(scheduler)),
        *("--dashboard", str(dashboard)),
        *("--scratch", str(state.demo / "scratch")),
    )
    page = f"{dashboard.url}/info/main/workers.html"
    return Service("dask", command, f"{dashboard.url}/health", page, (scheduler, dashboard))
