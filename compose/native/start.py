"""Brings the stack up, once: in this process or in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from compose.native import ports, record, stack
from compose.native.access import AccessError
from compose.native.child import Pace
from compose.native.people import DETACHED, somebody_reads
from compose.native.places import State, default_state_dir, shown
from compose.native.ports import Address
from compose.native.prepare import Plan, Say, StartError, Wishes
from compose.native.record import Record, ServiceRecord
from compose.native.rotating import RotatingLog
from compose.native.service import Condition, Service
from compose.native.supervisor import Announcer, Supervisor, silence
from provisioning.config.command import command

_FAILED = 1

Prepare = Callable[[Say], Plan]


def foreground(state: State, prepare: Prepare, pace: Pace | None = None) -> int:
    """Runs what `prepare` plans in this process until a signal ends it; returns the exit code."""
    try:
        state.create()
    except OSError as error:
        click.echo(f"cannot write in {shown(state.root)}: {error.strerror}", err=True)
        return _FAILED
    with record.supervising(state) as alone:
        if not alone:
            click.echo(
                f"already running (process {record.supervisor(state)}) with state in {shown(state.root)}; "
                f"`{command()} status{_at(state)}` shows it, `{command()} down{_at(state)}` stops it",
                err=True,
            )
            return _FAILED
        log = RotatingLog(_supervisor_log(state))
        say = Announcer(_echo, log)
        log.write(time.strftime("--- %Y-%m-%d %H:%M:%S%z\n").encode())
        try:
            return _run(state, prepare, say, pace or Pace())
        except (StartError, AccessError) as error:
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
    words = [sys.executable, "-P", "-m", "provisioning.cli", "up", "--state-dir", str(state.root)]
    words += ["--config", str(wishes.config.absolute())] if wishes.config else []
    words += ["--retry"] if wishes.retry else []
    for name, address in wishes.listen.items():
        words += ["--listen", f"{name}={address}"]
    child = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, DETACHED: "terminal" if somebody_reads() else "1", "PYTHONUNBUFFERED": "1"},
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


def _run(state: State, prepare: Prepare, say: Announcer, pace: Pace) -> int:
    gone = record.end_leftovers(state)
    if gone:
        say(f"Ended what a killed supervisor had left: {', '.join(gone)}.")
    record.write(state, Record(services=[ServiceRecord(name, Condition.STARTING) for name in stack.NAMES]))
    plan = prepare(say)
    _check_ports(plan.services)
    say(f"Starting {', '.join(service.name for service in plan.services)}:")
    supervisor = Supervisor(state, plan, say, pace)
    asyncio.run(supervisor.run(lambda well: _settled(say, state, well=well)))
    return 0


def _check_ports(services: list[Service]) -> None:
    """Raises StartError with every port that is taken."""
    taken = [
        (service, why)
        for service in services
        for address in service.ports
        if (why := ports.why_not(address)) is not None
    ]
    if taken:
        lines = [f"{service.name}: {why}" for service, why in taken]
        moves = " ".join(dict.fromkeys(f"--listen {service.name}={_elsewhere(service)}" for service, _ in taken))
        lines.append(f"Stop what is there, or start ours elsewhere: {command()} up {moves}")
        raise StartError("\n".join(lines))


def _elsewhere(service: Service) -> Address:
    first = service.ports[0]
    return Address(first.host, first.port % 50000 + 10000)


def _settled(say: Say, state: State, *, well: bool) -> None:
    """Says how to go on; a detached supervisor then lets go of its caller."""
    detached_now, at = DETACHED in os.environ, _at(state)
    how_to_stop = f"`{command()} down{at}` stops it" if detached_now else "Ctrl-C stops it"
    begin = "Everything answers" if well else f"Not everything answers (`{command()} logs NAME{at}` tells more)"
    say(f"{begin}; {how_to_stop}, `{command()} status{at}` shows it. State is in {shown(state.root)}.")
    if detached_now:
        silence(_supervisor_log(state))


def _at(state: State) -> str:
    """What the other commands need to find this stack; nothing where they look anyway."""
    return "" if state.root == default_state_dir() else f" --state-dir {shlex.quote(str(state.root))}"


def _supervisor_log(state: State) -> Path:
    return state.logs / "supervisor.log"


def _echo(line: str) -> None:
    # Whoever watched may be gone; the line is in the log.
    with contextlib.suppress(BrokenPipeError):
        click.echo(line)
