"""The demo's Dask cluster and its work: `python -m compose.native.demo`.

A real scheduler and real workers in processes of their own, on loopback, with work that never ends and shows
everything a page can show: task prefixes of different kinds, some errors, results passed between workers, memory
spilled to disk, one task of some minutes, pauses, and a worker that leaves and comes back. It takes little: a few
percent of a core, and well under 2 GB of memory whatever the machine has.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import click
import dask
from distributed import Client, Future, Nanny, Scheduler, wait

from compose.native.ports import Address

WORKERS = ("worker-1", "worker-2", "worker-3", "worker-4")
GUEST = WORKERS[-1]  # leaves and comes back
MEMORY = 400 << 20  # bytes a worker; spills above MEMORY * _SPILL
_SPILL = 0.1
WAVES, WAVE = 8, 14  # waves in a round, parts in a wave
PART = 1 << 19  # bytes of one loaded part
HOARD, HOARDED = 8, 8 << 20  # in a heavy round: parts that one worker holds, more than it keeps in memory
HEAVY_EVERY = 8  # rounds; each spills some ten MB, and somebody's disk should not see that all day
BREATH = 4.0  # s between two waves
LONG_TASK = 240.0  # s
FAILING = 0.25  # share of the evaluations
PAUSE = 25.0  # s without new work, twice a round
GUEST_LEAVES_EVERY = 2  # rounds
AWAY = 30.0  # s between a worker's leaving and its return

_SAMPLE = 1 << 16  # bytes of a part that its join keeps

log = logging.getLogger("demo")


# --- the work: plain functions, small enough to read on a page ---


def load(number: int, size: int) -> bytes:
    """Reads a part: mostly waiting, then some megabytes in memory."""
    time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 -- not a secret
    return random.Random(number).randbytes(size)  # noqa: S311


def tokenize(part: bytes) -> int:
    """A little computing."""
    until = time.monotonic() + 0.05
    count = 0
    while time.monotonic() < until:
        count += part.count(b" ", 0, 1 << 16)
    return count


def join(left: bytes, right: bytes) -> bytes:
    """Needs two parts in one place, so that one of them travels."""
    time.sleep(0.1)
    return left[:_SAMPLE] + right[:_SAMPLE]


def embed(piece: bytes) -> float:
    """Tasks of very different length."""
    time.sleep(random.expovariate(3.0))
    return len(piece) / _SAMPLE


def evaluate(step: int) -> float:
    """Fails now and then, as real work does."""
    time.sleep(0.2)
    if random.random() < FAILING:  # noqa: S311
        raise ValueError(f"evaluation {step} did not converge")
    return random.random()  # noqa: S311


def train(seconds: float) -> float:
    """One long task: the age of the oldest task of its worker shows it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.5)
        sum(range(20_000))
    return seconds


# --- the cluster ---


class Cluster:
    """A scheduler and its workers in this process's care."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._nannies: dict[str, Nanny] = {}

    async def add(self, name: str) -> None:
        """Starts a worker, restarted by its nanny should it die."""
        self._nannies[name] = await Nanny(
            self._scheduler.address,
            name=name,
            nthreads=2,
            memory_limit=MEMORY,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )

    async def retire(self, name: str) -> None:
        """Lets a worker hand over its results and leave."""
        nanny = self._nannies.pop(name)
        await self._scheduler.retire_workers(names=[name], close_workers=True, remove=True)
        await nanny.close()

    async def close(self) -> None:
        """Ends every worker."""
        await asyncio.gather(*(nanny.close(timeout=3) for nanny in self._nannies.values()))


@asynccontextmanager
async def cluster(scheduler: Address, dashboard: Address) -> AsyncIterator[tuple[Cluster, Client]]:
    """The cluster, running, and a client of it."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            Scheduler(host=scheduler.host, port=scheduler.port, dashboard_address=str(dashboard))
        )
        made = Cluster(running)
        stack.push_async_callback(made.close)
        await asyncio.gather(*(made.add(name) for name in WORKERS))
        client = await stack.enter_async_context(Client(running.address, asynchronous=True))
        yield made, client


async def work(made: Cluster, client: Client) -> None:
    """Rounds of work, for ever: about a minute of load, a pause with results still held, a pause with none."""
    training: Future[Any] | None = None
    for number in itertools.count(1):
        log.info("round %d", number)
        if training is None or training.done():
            training = client.submit(train, LONG_TASK, key=f"train-{number}", workers=_staying(client))
        await _round(client, number)
        if number % GUEST_LEAVES_EVERY == 0:
            log.info("%s leaves for %d s", GUEST, AWAY)
            await made.retire(GUEST)
            await asyncio.sleep(AWAY)
            await made.add(GUEST)
        await asyncio.sleep(PAUSE)


def _staying(client: Client) -> list[str]:
    """Addresses of the workers that do not leave: the long task would have to begin again."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return [address for address, worker in workers.items() if worker["name"] != GUEST]


async def _round(client: Client, number: int) -> None:
    """Loads parts in waves and keeps them, so that memory fills, in a heavy round over the brim; then reads them again.

    What it made is let go when it returns.
    """
    hoard = _hoard(client, number) if number % HEAVY_EVERY == 1 else []
    parts: list[Future[Any]] = []
    results: list[Future[Any]] = []
    for wave in range(WAVES):
        fresh = [client.submit(load, index, PART, key=f"load-{number}-{wave}-{index}") for index in range(WAVE)]
        results += _each(client, tokenize, fresh, f"{number}-{wave}")
        parts += fresh
        await wait([*fresh, *results])
        await asyncio.sleep(BREATH)
    far = parts[len(parts) // 2 :] + parts[: len(parts) // 2]
    joined = [
        client.submit(join, left, right, key=f"join-{number}-{index}")
        for index, (left, right) in enumerate(zip(parts, far, strict=True))
    ]
    results += _each(client, embed, joined, f"{number}")
    # Some of these fail; nobody asks for their results, as with a notebook left open.
    results += [client.submit(evaluate, step, key=f"evaluate-{number}-{step}") for step in range(12)]
    # Read in the order they were made, so that each hoarded part comes back from the disk once.
    results += _each(client, tokenize, hoard, f"{number}-hoard")
    await wait(results)
    await asyncio.sleep(PAUSE)


def _hoard(client: Client, number: int) -> list[Future[Any]]:
    """Large parts, all on one worker that stays: it must spill some of them."""
    worker = _staying(client)[:1]
    return [
        client.submit(load, index, HOARDED, key=f"load-{number}-hoard-{index}", workers=worker)
        for index in range(HOARD)
    ]


def _each(client: Client, function: Callable[..., Any], inputs: list[Future[Any]], title: str) -> list[Future[Any]]:
    return [
        client.submit(function, one, key=f"{function.__name__}-{title}-{index}") for index, one in enumerate(inputs)
    ]


async def run(scheduler: Address, dashboard: Address) -> None:
    """Runs cluster and work until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    async with cluster(scheduler, dashboard) as (made, client):
        working = asyncio.create_task(work(made, client))
        ending = asyncio.create_task(end.wait())
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        if working.done() and not working.cancelled():
            working.result()  # work never ends by itself: this raises what stopped it


@click.command()
@click.option("--scheduler", required=True, help="Where the scheduler listens.")
@click.option("--dashboard", required=True, help="Where the scheduler serves HTTP.")
@click.option("--scratch", required=True, type=click.Path(path_type=Path), help="Folder for spilled data; emptied.")
def main(scheduler: str, dashboard: str, scratch: Path) -> None:
    """Run the demo's Dask cluster until told to end."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True)
    settings = {
        "temporary-directory": str(scratch),
        "distributed.worker.memory.target": _SPILL,
        "distributed.worker.memory.spill": 0.6,
        "distributed.worker.memory.pause": 0.85,
        # The failing evaluations would otherwise be written to the log at length.
        "logging.distributed.worker": "ERROR",
        "logging.distributed.nanny": "WARNING",
        "distributed.scheduler.allowed-failures": 10,
    }
    with dask.config.set(settings):
        asyncio.run(run(Address.parse(scheduler), Address.parse(dashboard)))


if __name__ == "__main__":
    main()
