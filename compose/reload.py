"""Runs a command, and runs it anew when a file under the given folders changes; for those who change the code.

`python -m compose.reload FOLDER... -- COMMAND...`. A command that ends by itself is run again at the next change.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_POLL = 1.0  # s
_GRACE = 10.0  # s
_SEEN = (".py", ".j2", ".yml", ".css")


def seen(folders: Sequence[Path]) -> dict[Path, int]:
    """When each file was last written."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.suffix in _SEEN:
                try:
                    found[path] = path.stat().st_mtime_ns
                except FileNotFoundError:  # an editor has just replaced it
                    continue
    return found


def run(folders: Sequence[Path], command: Sequence[str]) -> int:
    """Until SIGTERM, which the command is sent too."""
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    known = seen(folders)
    child = subprocess.Popen(command)
    while not stopped:
        time.sleep(_POLL)
        now = seen(folders)
        if now != known:
            known = now
            sys.stderr.write("something changed: starting anew\n")
            _end(child)
            child = subprocess.Popen(command)
    _end(child)
    return 0


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def main(arguments: Sequence[str]) -> int:
    """The folders stand before `--`, the command behind it."""
    split = list(arguments).index("--")
    return run([Path(folder) for folder in arguments[:split]], arguments[split + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
