"""What goes wrong with machines: disks of this one, everything else on the stand-in for a second one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage


@action
async def machine_says(
    stage: Stage, values: dict[str, float] | None = None, lines: list[str] | None = None
) -> AsyncIterator[None]:
    """The second machine's node_exporter gives these values in place of its own, and these lines besides."""
    assert stage.machine is not None
    stage.machine.changes = values or {}
    stage.machine.added = lines or []
    yield
    stage.machine.changes = {}
    stage.machine.added = []


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
    with (stage.disk / "ballast").open("wb") as file:
        free = shutil.disk_usage(stage.disk).total * share - shutil.disk_usage(stage.disk).used
        with contextlib.suppress(OSError):
            file.write(bytes(int(free)))
    yield
    (stage.disk / "ballast").unlink()


@action
async def filling_disk(stage: Stage, megabytes_per_second: float) -> AsyncIterator[None]:
    """A small disk of this machine fills up little by little."""
    assert stage.disk is not None
    ballast = stage.disk / "ballast"

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


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, capture_output=True)
