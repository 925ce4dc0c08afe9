"""A clock that jumps, for programs written in C: Debian's libfaketime, unpacked as `make tools` does.

`python -m tests.standins.faketime` unpacks it, where there is apt; nothing is installed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package

PACKAGE = Package("libfaketime", {})


class Clock:
    """What programs believe that are started under it; `jump` moves it while they run."""

    def __init__(self, library: Path, folder: Path) -> None:
        """`folder` may be looked into by everybody, as the library's own need not be."""
        self._library = Path(shutil.copy(library, folder))
        self._library.chmod(0o644)
        self._says = folder / "clock"
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """So far from the true time, from now on."""
        fresh = self._says.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.chmod(0o644)
        fresh.rename(self._says)

    @property
    def environment(self) -> dict[str, str]:
        """Who is started with it sees this clock. The monotonic one has no date and does not jump, as nowhere."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._says),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def forget(self, pid: int) -> None:
        """Takes away what the library leaves of a process that was killed."""
        for left in Path("/dev/shm").glob(f"*faketime_*_{pid}"):
            left.unlink(missing_ok=True)


def find() -> Path | None:
    """The library, None when it is not unpacked."""
    unpacked = (default_cache_dir() / "debian" / PACKAGE.name).glob("usr/lib/*/faketime/libfaketime.so.1")
    return next(unpacked, None)


def main() -> None:
    """Unpacks it unless it is there; without it one fault is left out."""
    if find() is not None or not debian.available():
        return
    try:
        debian.fetch([PACKAGE], default_cache_dir(), print)
    except FetchError as error:
        sys.stdout.write(f"libfaketime could not be had, no clock jumps: {error}\n")


if __name__ == "__main__":
    main()
