"""A real Dask client in the cluster's own version, told what to do by lines of JSON. Runs in that environment."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from distributed import Client, wait


def _sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _hog(size: int) -> int:
    held = []
    for _ in range(size):
        held.append(bytearray(b"x" * 2**20))
        time.sleep(0.005)
    time.sleep(60)
    return len(held)


class Driver:
    """Each method is a command; what it returns is printed as JSON."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: list[Any] = []  # futures, so that the scheduler keeps the tasks

    def quick(self, count: int) -> int:
        futures = self._client.map(lambda x: x + 1, range(count), key=[f"quick-{i}" for i in range(count)])
        return sum(self._client.gather(futures))

    def hold(self, worker: str, count: int, size: int = 1000, *, only_there: bool = False) -> int:
        where = {"workers": [worker], "allow_other_workers": not only_there}
        futures = [
            self._client.submit(lambda i=i: bytes(size), key=f"hold-{worker}-{i}", **where) for i in range(count)
        ]
        wait(futures)
        self._held.append(futures)
        return len(futures)

    def long(self, worker: str, seconds: float, count: int = 1, *, only_there: bool = False) -> int:
        where = {"workers": [worker], "allow_other_workers": not only_there}
        futures = [self._client.submit(_sleep, seconds, key=f"long-{worker}-{i}", **where) for i in range(count)]
        self._held.append(futures)
        return len(futures)

    def fail(self) -> str:
        future = self._client.submit(lambda: 1 / 0, key="fail-0")
        wait([future])
        self._held.append(future)
        return str(future.status)

    def hog(self, worker: str, megabytes: int) -> None:
        self._held.append(self._client.submit(_hog, megabytes, key="hog-0", workers=[worker], retries=0))

    def pid(self, worker: str) -> int:
        return int(self._client.submit(os.getpid, workers=[worker], pure=False).result())

    def retire(self, names: list[str]) -> int:
        return len(self._client.retire_workers(names=names))

    def release(self) -> None:
        self._held.clear()


def main() -> None:
    with Client(sys.argv[1]) as client:
        driver = Driver(client)
        for line in sys.stdin:
            command = json.loads(line)
            answer = getattr(driver, command.pop("do"))(**command)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
