"""What goes wrong with machines: disks of this one, everything else on the stand-in for a second one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.gameday.systems.machine import Changes


@action
async def machine_says(stage: Stage, **changes: Any) -> AsyncIterator[None]:
    """The second machine's exporters say something else: see machine.Changes."""
    assert stage.machine is not None
    stage.machine.changes = Changes(**changes)
    yield
    stage.machine.changes = Changes()


@action
async def machine_silent(stage: Stage) -> AsyncIterator[None]:
    """The second machine does not answer."""
    assert stage.machine is not None
    stage.machine.silent = True
    yield
    stage.machine.silent = False


@action
async def full_disk(stage: Stage, share: float = 0.99) -> AsyncIterator[None]:
    """A small disk of this machine fills up at once."""
    assert stage.disk is not None
    disk = os.statvfs(stage.disk)  # as the rules see it: what only root may still take counts as taken
    ballast = disk.f_frsize * max(0, int(disk.f_bavail - (1 - share) * disk.f_blocks))
    with (stage.disk / "ballast").open("wb") as file, contextlib.suppress(OSError):
        file.write(bytes(ballast))
    yield
    (stage.disk / "ballast").unlink()


@action
async def no_inodes(stage: Stage) -> AsyncIterator[None]:
    """Very many small files on a small disk."""
    assert stage.disk is not None
    folder = stage.disk / "many"
    folder.mkdir()
    free = os.statvfs(stage.disk).f_ffree
    await asyncio.to_thread(_touch_all, folder, free - 10)
    yield
    shutil.rmtree(folder)


@action
async def filling_disk(stage: Stage, megabytes_per_second: float) -> AsyncIterator[None]:
    """A small disk of this machine fills up little by little."""
    assert stage.disk is not None
    ballast = stage.disk / "growing"

    async def fill() -> None:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(int(megabytes_per_second * (1 << 20))))
                await asyncio.sleep(1)

    task = asyncio.create_task(fill())
    yield
    task.cancel()
    await asyncio.wait({task})
    ballast.unlink()


@action
async def read_only_disk(stage: Stage) -> AsyncIterator[None]:
    """A small disk of this machine can only be read, as after an error."""
    assert stage.disk is not None
    _remount(stage.disk, "ro")
    yield
    _remount(stage.disk, "rw")


def _touch_all(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / str(number)).touch()


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, capture_output=True)
