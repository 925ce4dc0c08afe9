"""`python -m benchmarks [encoding|ollama|dask|fleet|alerts|pages|proxy|door ...]`: measures, in tables of Markdown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from benchmarks import alerts, dask, door, encoding, fleet, ollama, pages, proxy
from benchmarks.table import Table

_PARTS: dict[str, Callable[[], list[Table]]] = {
    "encoding": lambda: [encoding.measure()],
    "ollama": lambda: [ollama.measure()],
    "dask": dask.measure,
    "fleet": fleet.measure,
    "alerts": alerts.measure,
    "pages": pages.measure,
    "proxy": proxy.measure,
    "door": door.measure,
}


def main(names: list[str]) -> None:
    """Print the tables of the parts named, or of all."""
    unknown = [name for name in names if name not in _PARTS]
    if unknown:
        raise SystemExit(f"no benchmark is called {unknown[0]!r}; there are {', '.join(_PARTS)}")
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} at the start\n", flush=True)
    for name in names or _PARTS:
        for table in _PARTS[name]():
            print(table.text(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
