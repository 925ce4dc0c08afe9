"""A second machine: this one's own node_exporter page with some numbers changed, because clocks and fans are not ours.

It also has two GPUs, as dcgm-exporter shows them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{[^}]*\})? (\S+)$")
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
        self._node_exporter = node_exporter
        machine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if machine.silent:
                    self.close_connection = True
                    return
                body = machine.page(gpu=self.path.startswith("/gpu")).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def page(self, *, gpu: bool) -> str:
        """What one of its exporters says now."""
        changes = self.changes
        text = _GPU if gpu else httpx.get(f"{self._node_exporter}/metrics", trust_env=False, timeout=10).text
        lines = (line for line in text.splitlines() if not any(part in line for part in changes.without))
        changed = [_changed(line, changes) for line in lines]
        return "".join(f"{line}\n" for line in (*changed, *(() if gpu else changes.lines)))


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
