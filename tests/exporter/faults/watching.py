"""A target watched in this process over real sockets, at a time that the test moves."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from exporter.client.wires import TargetWires
from exporter.collectors import registry
from exporter.families import encode
from exporter.scrape import Collection, Watch
from provisioning.config.hosts import HostNames
from provisioning.config.targets import DaskTarget, HttpTarget, OllamaTarget, OpenWebUITarget, System
from tests.exporter.golden import assert_parses, lint

HOUR = 3600.0


class Watched:
    """One target and its exporter's clock."""

    def __init__(self, system: System, target: DaskTarget | HttpTarget) -> None:
        self._now = time.monotonic()
        self.wires = TargetWires()
        collector = registry()[system].build(target, self.wires, HostNames((), "box"), time.time)
        self.watch = Watch(target, collector, monotonic=lambda: self._now)

    async def look(self) -> tuple[Collection, str]:
        """A collection an hour later, when nothing that was kept is still good, and its text."""
        self._now += HOUR
        collection = await self.watch.collect(60)
        return collection, encode(collection.families, openmetrics=False)

    async def checked_look(self) -> str:
        """The text of a collection that both parsers and promtool read."""
        collection, text = await self.look()
        assert_parses(text, encode(collection.families, openmetrics=True) + "# EOF\n")
        lint(text)
        return text


@asynccontextmanager
async def watching(system: System, target: DaskTarget | HttpTarget) -> AsyncIterator[Watched]:
    """A target under watch until the end of the block."""
    watched = Watched(system, target)
    try:
        yield watched
    finally:
        await watched.watch.close()
        await watched.wires.close()


def series(text: str) -> set[str]:
    """Names with their labels, without values."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def values(text: str, name: str) -> dict[str, float]:
    """Labels to value of one metric."""
    pairs = (line.rpartition(" ") for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return {key.removeprefix(name): float(value) for key, _, value in pairs}


def of(system: System, port: int, **more: Any) -> DaskTarget | HttpTarget:
    """A configured target at a port of this machine."""
    if system == "dask":
        return DaskTarget(name="main", scheduler=f"tcp://127.0.0.1:{port}", dashboard="http://127.0.0.1:1", **more)
    kind = OllamaTarget if system == "ollama" else OpenWebUITarget
    return kind(name="main", url=f"http://127.0.0.1:{port}", **more)
