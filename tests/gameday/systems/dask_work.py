"""What people do with a Dask cluster, good and bad, told by lines of JSON; in a process of its own.

When this process ends, the scheduler forgets its tasks. What must not outlive it in a worker looks at a flag file.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Client, Future, get_worker, wait


def _until_gone(flag: str) -> None:
    while os.path.exists(flag):  # noqa: PTH110 -- pickled by value: no import of ours in the worker
        time.sleep(0.2)


def _nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _fail(number: int) -> None:
    raise ValueError(f"task {number} fails as planned")


def _leak(share: float, flag: str) -> int:
    """Fills this worker up to a share of its limit, and keeps it when the task is long over."""
    worker = get_worker()
    wanted = int(share * worker.memory_manager.memory_limit)
    held: list[bytearray] = []
    while worker.monitor.get_process_memory() < wanted:
        held.append(bytearray(b"x" * (4 << 20)))

    def keep() -> None:
        _until_gone(flag)
        held.clear()

    threading.Thread(target=keep, daemon=True).start()
    return len(held)


def _hog(flag: str) -> int:
    held = []
    while os.path.exists(flag):  # noqa: PTH110
        held.append(bytearray(b"x" * (4 << 20)))
        time.sleep(0.02)
    return len(held)


def _die() -> None:
    os.kill(os.getpid(), 9)


def _block_loop(seconds: float, every: float, dask_scheduler: Any = None) -> None:
    """On the scheduler: keeps its event loop from turning, again and again, until it is told to stop."""
    loop = dask_scheduler.loop

    def block() -> None:
        if getattr(dask_scheduler, "game_day_blocked", False):
            time.sleep(seconds)
            loop.call_later(every, block)

    dask_scheduler.game_day_blocked = True
    loop.add_callback(block)


def _free_loop(dask_scheduler: Any = None) -> None:
    dask_scheduler.game_day_blocked = False


class Work:
    """Each public method is a command; what it returns is printed as JSON."""

    def __init__(self, client: Client, flag: Path) -> None:
        self._client = client
        self._flag = str(flag)
        self._held: list[Any] = []

    def normal(self) -> str:
        """Short tasks for ever."""
        return self._for_ever(lambda number: self._client.submit(_nap, 0.05, key=f"work-{number}"), 0.5)

    def failing(self, together: int, pause: float) -> str:
        """Tasks that fail, so many together, so many seconds after those before, for ever."""
        return self._for_ever(lambda number: self._client.submit(_fail, number, key=f"fail-{number}"), pause, together)

    def prefixes(self, count: int) -> int:
        """As many kinds of task."""
        futures = [self._client.submit(_nap, 0.0, key=f"kind{number}x-0") for number in range(count)]
        wait(futures)
        self._held.append(futures)
        return count

    def stuck(self, count: int = 1, workers: list[str] | None = None) -> int:
        """Tasks that do not end while this process lives."""
        return self._keep(
            self._client.submit(_until_gone, self._flag, key=f"stuck-{number}", workers=workers)
            for number in range(count)
        )

    def unrunnable(self) -> int:
        """A task that no worker may run."""
        return self._keep([self._client.submit(_nap, 0.0, key="nowhere-0", resources={"UNICORN": 1})])

    def leak(self, worker: str, share: float) -> int:
        """A task that fills a worker with what is no result, and ends."""
        return int(self._client.submit(_leak, share, self._flag, key="leak-0", workers=[worker]).result())

    def results(self, worker: str, megabytes: int, each: int = 4) -> int:
        """Results that fill a worker, which spills those it has no room for."""
        futures = [
            self._client.submit(os.urandom, each << 20, key=f"result-{number}", workers=[worker])
            for number in range(megabytes // each)
        ]
        return self._keep(futures)

    def spilling(self, worker: str, megabytes: int) -> str:
        """Results that come and go on one worker, for ever, more than it has room for."""

        def batch(number: int) -> Future[Any]:
            self._held.append(self._client.submit(os.urandom, 8 << 20, key=f"spill-{number}", workers=[worker]))
            while len(self._held) > megabytes // 8:
                self._held.pop(0)
            return self._held[-1]

        return self._for_ever(batch, 0.1)

    def hog(self, worker: str) -> int:
        """A task that takes memory until its worker is ended for it."""
        return self._keep([self._client.submit(_hog, self._flag, key="hog-0", workers=[worker])])

    def deadly(self, count: int = 1) -> int:
        """Tasks that take their worker along."""
        return self._keep(self._client.submit(_die, key=f"deadly-{number}", pure=False) for number in range(count))

    def block_loop(self, seconds: float, every: float) -> bool:
        """The scheduler's event loop turns only between long blocks."""
        self._client.run_on_scheduler(_block_loop, seconds, every)
        return True

    def free_loop(self) -> bool:
        """It turns freely again."""
        self._client.run_on_scheduler(_free_loop)
        return True

    def _keep(self, futures: Any) -> int:
        kept = list(futures)
        self._held.extend(kept)
        return len(kept)

    def _for_ever(self, one: Callable[[int], Future[Any]], pause: float, together: int = 8) -> str:
        def loop() -> None:
            number = 0
            while True:
                futures = [one(number + offset) for offset in range(together)]
                wait(futures)
                number += together
                del futures
                time.sleep(pause)

        def loop_or_end() -> None:
            try:
                loop()
            finally:  # its scheduler is gone, say: a process without its loop would only look busy
                traceback.print_exc()
                os._exit(1)

        threading.Thread(target=loop_or_end, daemon=True).start()
        return "begun"


def main() -> None:
    """`dask_work ADDRESS FLAG`: the flag file exists as long as this process lives."""
    flag = Path(sys.argv[2])
    flag.touch()
    with Client(sys.argv[1]) as client:
        work = Work(client, flag)
        for line in sys.stdin:
            command = json.loads(line)
            answer = getattr(work, command.pop("do"))(**command)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
