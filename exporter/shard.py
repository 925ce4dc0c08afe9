"""Which of several exporters watches a target, so that a fleet outgrows one process by adding processes.

Every exporter reads the same configuration and decides by the target's name alone, so each name has exactly one
owner. The owner is the shard with the highest hash of (shard, name) (rendezvous hashing): adding a shard moves about
1/N of the targets, all of them to the new one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

MOST = 1000
_TEXT = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` exporters; `index` counts from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `2/5`. Raises ValueError with a line for people."""
        match = _TEXT.fullmatch(text)
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= count <= MOST:
            raise ValueError(f"{text!r} is no shard; write K/N, the K-th of N exporters, such as 2/5")
        return cls(index, count)

    def owns(self, name: str) -> bool:
        """Whether this exporter watches the target called `name`."""
        return owner(name, self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def owner(name: str, count: int) -> int:
    """The shard of `count`, from 1, that watches the target called `name`: the same in every process and version."""
    return max(range(1, count + 1), key=lambda shard: hashlib.sha256(f"{shard}/{name}".encode()).digest())
