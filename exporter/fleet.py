"""All targets under watch, and what changes when the configuration does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection as Many
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from exporter.apart import apart
from exporter.client.wires import TargetWires
from exporter.collectors import registry
from exporter.collectors.base import Collector
from exporter.native_page import NativePage
from exporter.scrape import Collection, Watch
from exporter.shard import Shard
from provisioning.config.hosts import HostNames
from provisioning.config.load import ConfigError, load
from provisioning.config.model import Config
from provisioning.config.targets import SYSTEMS, DaskTarget, HttpTarget, System

log = logging.getLogger(__name__)


def targets_of(config: Config) -> list[tuple[System, DaskTarget | HttpTarget]]:
    """Every probed target with its system, in the order of the file."""
    return [(system, target) for system in SYSTEMS for target in getattr(config.targets, system)]


class Fleet:
    """The watches of a configuration; unchanged targets keep theirs across reloads."""

    def __init__(
        self,
        file: Path,
        config: Config,
        collectors: Mapping[str, type[Collector]] | None = None,
        shard: Shard | None = None,
        fixed: Many[str] = (),
    ) -> None:
        """`fixed` are the keys of the file, such as `services.exporter`, that count at the start alone."""
        self.file = file.absolute()
        self.config = config
        self.shard = shard
        self.watches: dict[str, Watch] = {}
        self.native_pages: dict[str, NativePage] = {}
        self.loaded = time.time()  # when the configuration in use was read, seconds since the epoch
        self.reload_error: str | None = None
        self._fixed = {key: attrgetter(key)(config) for key in sorted(fixed)}
        self._collectors = registry() if collectors is None else collectors
        self._wires: dict[str, TargetWires] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._next_reload: asyncio.Future[None] | None = None  # waits for its turn
        self._apply(config)

    async def reload(self) -> None:
        """Read the file again. Raises ConfigError and keeps the old configuration when the new one is broken.

        One after the other, each with the file as it is then; a large file takes seconds, beside the event loop. All
        who ask while one is under way get the same next one: however many ask, the file is read twice.
        """
        if self._next_reload is None:
            self._next_reload = asyncio.ensure_future(self._reload_in_turn())
            self._next_reload.add_done_callback(_seen)
        await asyncio.shield(self._next_reload)

    async def _reload_in_turn(self) -> None:
        async with self._reloading:
            self._next_reload = None
            await self._reload()

    async def _reload(self) -> None:
        try:
            config = await apart(load, self.file)
        except ConfigError as error:
            self.reload_error = str(error)
            log.error("configuration not reloaded, the old one stays in use: %s", error)  # noqa: TRY400 -- told to people
            raise
        if self._stopping.is_set():
            return
        self._apply(config)
        self.reload_error = None
        self.loaded = time.time()
        log.info("configuration reloaded from %s: %d targets", self.file, len(self.watches))
        if self.waiting:
            log.warning("of the configuration, this counts only after a restart: %s", ", ".join(self.waiting))

    @property
    def waiting(self) -> list[str]:
        """The keys whose value in the file is no longer what this exporter was started with."""
        return [key for key, value in self._fixed.items() if attrgetter(key)(self.config) != value]

    def targets(self) -> list[tuple[System, DaskTarget | HttpTarget]]:
        """The targets this exporter watches, of its shard where there are several; in the order of the file."""
        return [pair for pair in targets_of(self.config) if self.shard is None or self.shard.owns(pair[1].name)]

    async def collect(self, budget: float, systems: Iterable[str] = SYSTEMS) -> dict[str, Collection]:
        """Look at every target of these systems at once; by target name."""
        wanted = set(systems)
        watches = {name: watch for name, watch in self.watches.items() if watch.collector.system in wanted}
        collections = await asyncio.gather(*(watch.collect(budget) for watch in watches.values()))
        return dict(zip(watches, collections, strict=True))

    async def refresh(self, max_age: float, budget: float) -> None:
        """Make sure that every target was looked at within `max_age` seconds."""
        await asyncio.gather(*(watch.fresh(max_age, budget) for watch in self.watches.values()))

    async def close(self) -> None:
        """Stop all collections and close all connections."""
        self._stopping.set()
        for name in list(self.watches):
            self._retire(name)
        if self._retired:
            await asyncio.wait(self._retired)

    def _apply(self, config: Config) -> None:
        hosts = HostNames.of(config)
        same_hosts = config.targets.hosts == self.config.targets.hosts
        self.config = config
        wanted = {target.name: (system, target) for system, target in self.targets()}
        for name, watch in list(self.watches.items()):
            if not same_hosts or wanted.get(name) != (watch.collector.system, watch.target):
                self._retire(name)
        kept, self.watches = self.watches, {}
        for name, (system, target) in wanted.items():
            self.watches[name] = kept.get(name) or self._watch(system, target, hosts)

    def _watch(self, system: System, target: DaskTarget | HttpTarget, hosts: HostNames) -> Watch:
        wires = self._wires[target.name] = TargetWires()
        collector = self._collectors[system].build(target, wires, hosts, time.time)
        watch = Watch(target, collector, certificate_expiry=wires.certificate_expiry)
        if isinstance(target, DaskTarget):
            self.native_pages[target.name] = NativePage(target, watch, wires)
        return watch

    def _retire(self, name: str) -> None:
        task = asyncio.ensure_future(
            self._close(self.watches.pop(name), self.native_pages.pop(name, None), self._wires.pop(name))
        )
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _close(self, watch: Watch, page: NativePage | None, wires: TargetWires) -> None:
        """When the last who waits for this target has been answered, or the exporter stops."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        waits: set[asyncio.Future[Any]] = {stopping, asyncio.ensure_future(_settled(watch, page))}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if page is not None:
            await page.close()
        await watch.close()
        stopping.cancel()
        await asyncio.wait(waits)
        await wires.close()


def _seen(reload: asyncio.Future[None]) -> None:
    """Those who wait for it have its error, and it is in the log; when all of them left, nobody wants it."""
    if not reload.cancelled():
        reload.exception()


async def _settled(watch: Watch, page: NativePage | None) -> None:
    await watch.settled()
    if page is not None:
        await page.settled()
