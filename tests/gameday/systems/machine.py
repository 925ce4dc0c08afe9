"""A second machine: this one's own node_exporter page with some numbers changed, because clocks and fans are not ours.

It also has two GPUs, as dcgm-exporter shows them.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from tests.gameday.serving import Server

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{[^}]*\})? (\S+)$")
_NOT_ITS_OWN = 'mountpoint="/tmp/'  # the small disk that is filled
_PATIENCE = 5.0  # s
_GPU = "".join(
    f'DCGM_FI_DEV_{name}{{gpu="{number}",UUID="GPU-{number}",device="nvidia{number}",modelName="A100"}} {value}\n'
    for number in (0, 1)
    for name, value in (("GPU_TEMP", 45), ("GPU_UTIL", 20), ("FB_FREE", 30000), ("FB_USED", 10000), ("XID_ERRORS", 0))
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different on the second machine. Names may have labels, as they stand on the page."""

    values: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, float] = field(default_factory=dict)
    """Added to the values."""
    lines: Sequence[str] = ()
    """What node_exporter's page has besides."""
    without: Sequence[str] = ()
    """Texts whose lines are missing."""


class Machine:
    """Both exporters of the machine, on one port: `/metrics` and `/gpu/metrics`."""

    def __init__(self, port: int, node_exporter: str) -> None:
        # The rules take a loopback address for this machine, which cannot be gone. Written like this it is none.
        self.url = f"http://[::ffff:127.0.0.1]:{port}"
        self.changes = Changes()
        self.silent = False
        self._node_exporter, self._last = node_exporter, ""
        self._server = Server(self._respond, port)
        self._ended = threading.Event()
        self._following = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._server.start()
        self._following.start()

    def stop(self) -> None:
        self._ended.set()
        self._server.stop()

    def _respond(self, path: str) -> tuple[int, bytes, str] | None:
        return None if self.silent else (200, self.page(gpu=path.startswith("/gpu")).encode(), "text/plain")

    def page(self, *, gpu: bool) -> str:
        """What one of its exporters says now."""
        changes = self.changes
        text = _GPU if gpu else self._own()
        lines = (line for line in text.splitlines() if not any(part in line for part in changes.without))
        changed = [_changed(line, changes) for line in lines]
        return "".join(f"{line}\n" for line in (*changed, *(() if gpu else changes.lines)))

    def _own(self) -> str:
        """This machine's page, or the last one there was: its faults and its load are not the other's; clocks go on."""
        calm = re.sub(r"(?m)^node_load5 .*$", "node_load5 0.5", self._last)
        return re.sub(r"(?m)^node_time_seconds .*$", f"node_time_seconds {time.time()!r}", calm)

    def _follow(self) -> None:
        """Reads the page again and again, so that who asks does not wait for it."""
        while not self._ended.wait(1.0):
            with contextlib.suppress(httpx.HTTPError):
                page = httpx.get(f"{self._node_exporter}/metrics", trust_env=False, timeout=_PATIENCE).text
                self._last = "".join(f"{line}\n" for line in page.splitlines() if _NOT_ITS_OWN not in line)


def _changed(line: str, changes: Changes) -> str:
    found = _SAMPLE.match(line)
    if found is None:
        return line
    name, labels = found[1], found[2] or ""
    for key in (f"{name}{labels}", name):
        if key in changes.values:
            return f"{name}{labels} {changes.values[key]!r}"
        if key in changes.more:
            return f"{name}{labels} {float(found[3]) + changes.more[key]!r}"
    return line
