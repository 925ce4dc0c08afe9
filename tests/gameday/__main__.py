"""`make gameday`: real systems, the whole stack at another pace, and everything that may break, one fault at a time.

ARGS names scenarios, or systems; without any, all are played, then a healthy hour. GAMEDAY_FACTOR is by what the
intervals of production are divided.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.gameday import report
from tests.gameday.day import FACTOR, Day, play


async def until_told(folder: Path, names: list[str]) -> Day:
    """The day, ended in order also by SIGTERM: nothing that it started may stay."""
    task = asyncio.ensure_future(play(folder, names, click.echo))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> None:
    """Exit code 0 when all is good. The folder with every log goes with a good day and stays after a bad one."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-ai-gameday-"))
    click.echo(f"Intervals of production divided by {FACTOR:g}; everything is kept in {folder}")
    begun = time.monotonic()
    day = asyncio.run(until_told(folder, sys.argv[1:]))
    minutes = (time.monotonic() - begun) / 60
    click.echo(f"\n{report.table(day.results)}\n{report.counts(day.results)} in {minutes:.0f} minutes")
    if day.good:
        shutil.rmtree(folder)
    sys.exit(0 if day.good else 1)


if __name__ == "__main__":
    main()
