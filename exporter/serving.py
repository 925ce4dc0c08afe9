"""The exporter as a process: from its start to SIGTERM."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from exporter.door.listen import Address
from exporter.door.server import Server
from exporter.door.settings import WebSettings
from exporter.fleet import Fleet
from exporter.shard import Shard
from exporter.web import Exporter
from provisioning.config.load import ConfigError
from provisioning.config.model import Config

log = logging.getLogger(__name__)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
_OWN_PAGES = 128 << 10  # bytes; glibc's own first value


async def serve(
    file: Path,
    config: Config,
    settings: WebSettings,
    *,
    addresses: Sequence[Address | socket.socket],
    max_requests: int,
    shard: Shard | None = None,
    alertmanager: str | None = None,
    fixed: Collection[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; scrapes under way are finished. Raises CannotListenError.

    `fixed` are the keys of the file that were read for `settings`, `addresses` and the like, and not again.
    """
    _give_memory_back()
    # A large answer is a hundred thousand objects without a cycle among them: looking for cycles every 700 objects,
    # as Python does by default, costs a third of a collection's CPU.
    gc.freeze()
    # The middle generation is looked at in pieces of 200,000, which takes 20 ms and nobody else may run meanwhile.
    gc.set_threshold(20_000, 10, 100)
    # While a thread writes 50,000 series the event loop gets the interpreter back after this long, not after 5 ms.
    sys.setswitchinterval(0.001)
    fleet = Fleet(file, config, shard=shard, fixed=fixed)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reloads: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, _reload, fleet, reloads)
    server = Server(
        Exporter(fleet, settings, max_requests=max_requests, alertmanager=alertmanager).application(), settings
    )
    try:
        for url in await server.start(addresses):
            log.info("serving on %s", url)
        log.info("targets watched: %d, of %s", len(fleet.watches), fleet.file)
        if os.geteuid() == 0:
            log.warning("running as root, which nothing here needs; run it as a user of its own")
        await stop.wait()
        log.info("stopping")
    finally:
        await server.stop()
        await fleet.close()


def _give_memory_back() -> None:
    """Keep what large answers leave behind from growing into the heap of a process that runs for months.

    glibc's malloc keeps a heap for each thread, and raises the size from which a block has pages of its own after each
    large one that is freed (mallopt(3), M_MMAP_THRESHOLD): bodies and expositions then come to lie between small things
    that stay. With faults at ten times the usual rate that cost 6 MiB in 20 minutes, of which malloc_trim gave 8 back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, which has its own ways
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES)
    mallopt(_M_TRIM_THRESHOLD, _OWN_PAGES)


def _reload(fleet: Fleet, under_way: set[asyncio.Task[None]]) -> None:
    task = asyncio.ensure_future(_try_reload(fleet))
    under_way.add(task)  # the event loop itself would let it be collected
    task.add_done_callback(under_way.discard)


async def _try_reload(fleet: Fleet) -> None:
    try:
        await fleet.reload()
    except ConfigError:
        log.info("fix the file and send SIGHUP again")  # reload has logged what is wrong
