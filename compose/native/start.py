"""Brings the stack up: configuration, programs, ports, rendered files, then the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from compose.native import binaries, demo_config, grafana, ports, record, stack
from compose.native.child import Pace
from compose.native.places import State, default_cache_dir, shown
from compose.native.ports import Address
from compose.native.record import Record, ServiceRecord, TargetRecord
from compose.native.rotating import RotatingLog
from compose.native.service import Condition, Service
from compose.native.supervisor import Announcer, Supervisor, silence
from provisioning.config.load import ConfigError, load_with_warnings
from provisioning.config.model import SYSTEMS, Config
from provisioning.render import Places, RenderError, make_secrets, render

OWN_FILE = Path("cluster-ai.yml")
_DETACHED = "CLUSTER_AI_DETACHED"  # tells the supervisor that its caller waits for its first words only
_FAILED = 1

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
class Setup:
    """A configuration and where it came from; `scheduler` is the embedded Dask's, None outside the demo."""

    file: Path
    config: Config
    scheduler: Address | None


def foreground(state: State, wishes: Wishes) -> int:
    """Runs the stack in this process until a signal ends it; returns the exit code."""
    try:
        state.create()
    except OSError as error:
        click.echo(f"cannot write in {shown(state.root)}: {error.strerror}", err=True)
        return _FAILED
    with record.supervising(state) as alone:
        if not alone:
            click.echo(
                f"already running (process {record.supervisor(state)}) with state in {shown(state.root)}; "
                "`cluster-ai status` shows it, `cluster-ai down` stops it",
                err=True,
            )
            return _FAILED
        log = RotatingLog(_supervisor_log(state))
        say = Announcer(_echo, log)
        log.write(time.strftime("--- %Y-%m-%d %H:%M:%S%z\n").encode())
        try:
            return _run(state, wishes, say)
        except StartError as error:
            state.status.unlink(missing_ok=True)
            say(str(error))
            return _FAILED
        except KeyboardInterrupt:
            state.status.unlink(missing_ok=True)
            return 130
        finally:
            log.close()


def detached(state: State, wishes: Wishes) -> int:
    """Starts the stack in a process of its own and relays its words until everything has answered or failed."""
    command = [sys.executable, "-P", "-m", "provisioning.cli", "up", "--state-dir", str(state.root)]
    command += ["--config", str(wishes.config.absolute())] if wishes.config else []
    command += ["--retry"] if wishes.retry else []
    for name, address in wishes.listen.items():
        command += ["--listen", f"{name}={address}"]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, _DETACHED: "1", "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None  # noqa: S101 -- PIPE was asked for
    try:
        for line in child.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        return 130
    # Its output ended: it has let go of us, or it has failed.
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(1.0) or _FAILED
    unwell = [one.name for one in record.read(state).services if one.state not in (Condition.RUNNING, Condition.ABSENT)]
    return _FAILED if unwell else 0


def _run(state: State, wishes: Wishes, say: Say) -> int:
    gone = record.end_leftovers(state)
    if gone:
        say(f"Ended what a killed supervisor had left: {', '.join(gone)}.")
    setup = _setup(state, wishes, say)
    base = _record(setup)
    record.write(state, base)
    programs = _programs(wishes, say)
    places = Places(
        data=state.root,
        secrets=state.secrets,
        grafana=programs.grafana is not None,
        node_exporter=programs.node_exporter is not None,
    )
    plan = stack.services(setup.config, setup.file, state, programs, setup.scheduler)
    _ports_are_free(plan)
    try:
        make_secrets(places)
        render(setup.config, state.rendered, places=places, source=str(setup.file))
    except RenderError as error:
        raise StartError(str(error)) from None
    here = {service.name for service in plan}
    for service in base.services:
        if service.name not in here:
            service.state = Condition.ABSENT
    say(f"Starting {', '.join(service.name for service in plan)}:")
    supervisor = Supervisor(state, plan, base, say, Pace())
    asyncio.run(supervisor.run(lambda well: _settled(say, state, well=well)))
    return 0


def _setup(state: State, wishes: Wishes, say: Say) -> Setup:
    """Loads the configuration that was asked for, the one in this folder, or the demo's."""
    own = wishes.config or (OWN_FILE if OWN_FILE.exists() else None)
    scheduler: Address | None = None
    if own is None:
        scheduler = Address.parse(wishes.listen["dask"]) if "dask" in wishes.listen else stack.DEMO_SCHEDULER
        file = demo_config.write(state, scheduler, stack.dashboard_of(scheduler))
        say(f"No cluster-ai.yml here: this is the demo, with a Dask cluster of its own ({shown(file)}).")
    else:
        file = own.absolute()
    try:
        loaded = load_with_warnings(file)
    except ConfigError as error:
        raise StartError(str(error)) from None
    for warning in loaded.warnings:
        say(warning.text(file, "warning"))
    return Setup(file, stack.moved(loaded.config, wishes.listen), scheduler)


def _record(setup: Setup) -> Record:
    targets = setup.config.targets
    optional = demo_config.OPTIONAL if setup.scheduler is not None else frozenset()
    return Record(
        config=str(setup.file),
        demo=setup.scheduler is not None,
        services=[ServiceRecord(name, Condition.STARTING) for name in stack.NAMES],
        targets=[
            TargetRecord(target.name, system, target.name in optional)
            for system in SYSTEMS
            for target in getattr(targets, system)
        ],
    )


def _programs(wishes: Wishes, say: Say) -> stack.Programs:
    cache = default_cache_dir()
    found = binaries.provide(("prometheus", "alertmanager", "node_exporter"), cache, say, retry=wishes.retry)
    prometheus = found["prometheus"]
    if prometheus is None:
        raise StartError(
            "Prometheus is missing and could not be fetched; put a `prometheus` (2.42 or newer) on PATH and try again."
        )
    for name in ("alertmanager", "node_exporter"):
        if found[name] is None:
            say(f"{name} is missing and could not be fetched; going on without. One on PATH is used at the next start.")
    return stack.Programs(
        prometheus=prometheus,
        alertmanager=found["alertmanager"],
        node_exporter=found["node_exporter"],
        grafana=grafana.provide(cache, say, retry=wishes.retry),
    )


def _ports_are_free(plan: list[Service]) -> None:
    """Raises StartError with every port that is taken, before anything was started."""
    problems = []
    for service in plan:
        for address in service.ports:
            why = ports.why_not(address)
            if why is not None:
                problems.append(f"{service.name}: {why}")
    if problems:
        name, example = plan[0].name, ""
        for service in plan:
            if any(problem.startswith(f"{service.name}:") for problem in problems):
                name, example = service.name, str(Address(service.ports[0].host, service.ports[0].port + 10000))
                break
        advice = f"Stop what is there, or start ours elsewhere: cluster-ai up --listen {name}={example}"
        raise StartError("\n".join([*problems, advice]))


def _settled(say: Say, state: State, *, well: bool) -> None:
    """Says how to go on; a detached supervisor then lets go of its caller."""
    detached_now = bool(os.environ.get(_DETACHED))
    how_to_stop = "`cluster-ai down` stops it" if detached_now else "Ctrl-C stops it"
    begin = "Everything answers" if well else "Not everything answers (`cluster-ai logs NAME` tells more)"
    say(f"{begin}; {how_to_stop}, `cluster-ai status` shows it. State is in {shown(state.root)}.")
    if detached_now:
        silence(_supervisor_log(state))


def _supervisor_log(state: State) -> Path:
    return state.logs / "supervisor.log"


def _echo(line: str) -> None:
    # Whoever watched may be gone; the line is in the log.
    with contextlib.suppress(BrokenPipeError):
        click.echo(line)
