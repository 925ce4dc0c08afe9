"""Reads the log of a service, across its rotation."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from compose.native.rotating import last_lines

_PAUSE = 0.3  # s


def show(path: Path, lines: int, *, follow: bool) -> None:
    """Writes the last lines to standard output; with `follow`, new ones until interrupted."""
    file = path.open("rb") if follow else None
    if file is not None:
        file.seek(0, 2)  # before reading the last lines: what comes between would be lost
    for line in last_lines(path, lines):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    while file is not None:
        data = file.read()
        if data:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            file.close()
            file = path.open("rb")
        else:
            time.sleep(_PAUSE)
