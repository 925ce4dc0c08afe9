"""`make outages`: a production stack of real programs on loopback, people who use it, and every part that may fail.

ARGS names faults; without any, all of faults.yml are played. OUTAGES_PACE is by what production's seconds are divided:
1 plays five minutes without PostgreSQL as five minutes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

import click
import pytest

from tests.outages.faults import Fault, load
from tests.outages.judging import HEAD, row, wrong
from tests.outages.keeping import silence
from tests.outages.play import Player
from tests.outages.stack import Stack, running
from tests.outages.visitors import Visitors
from tests.outages.watching import Alerts

PACE = float(os.environ.get("OUTAGES_PACE", "10"))
_SETTLE = 300.0  # s, at most


def chosen(names: list[str]) -> list[Fault]:
    """The faults of these names, all without any. Raises click's BadParameter for a name that is none."""
    faults = load()
    if unknown := set(names) - {fault.name for fault in faults}:
        raise click.BadParameter(f"no fault is called {', '.join(sorted(unknown))}")
    return [fault for fault in faults if not names or fault.name in names]


def play(stack: Stack, faults: list[Fault]) -> tuple[list[str], bool]:
    """The table, and whether all is as the list says."""
    rows, good = [HEAD], True
    visitors = Visitors(stack.door, stack.password("grafana-admin-password"), real=stack.home is not None)
    alerts = Alerts(stack.at["prometheus"])
    try:
        player = Player(stack, visitors, alerts, silence(stack))
        if not player.calm(_SETTLE):
            raise click.ClickException(
                f"it never became calm: {', '.join(alerts.seen) or 'Prometheus does not answer'}"
            )
        for fault in faults:
            if why := next(filter(None, map(stack.lacks, fault.needs)), None):
                click.echo(f"{fault.name} is left out: {why}")
                continue
            seen = player.play(fault)
            complaints = wrong(fault, seen, stack.factor)
            good = good and not complaints
            rows.append(row(fault, seen, complaints))
            click.echo(rows[-1])
    finally:
        alerts.stop()
    return rows, good


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(143)  # so that nothing that was started stays


def main() -> None:
    """Exit code 0 when all is as the list says."""
    signal.signal(signal.SIGTERM, _end)
    begun = time.monotonic()
    faults = chosen(sys.argv[1:])
    click.echo(f"Seconds of production divided by {PACE:g}")
    try:
        with running(PACE, click.echo) as stack:
            rows, good = play(stack, faults)
    except pytest.skip.Exception as missing:
        raise click.ClickException(str(missing)) from None
    click.echo("\n".join(("", *rows, "", f"{len(rows) - 1} faults in {(time.monotonic() - begun) / 60:.0f} minutes")))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    try:
        main()
    except click.ClickException as error:
        error.show()
        sys.exit(1)
