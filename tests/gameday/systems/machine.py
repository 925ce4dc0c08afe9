"""A second machine: this one's own node_exporter page with some numbers changed, because clocks and fans are not ours.

It also has a GPU, as dcgm-exporter shows one.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{[^}]*\})? (\S+)$")
_GPU = """\
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA A100"} 45
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA A100"} 20
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA A100"} 30000
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA A100"} 10000
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA A100"} 0
"""


class Machine:
    """Both exporters of the machine, on one port: `/metrics` and `/gpu/metrics`."""

    def __init__(self, port: int, node_exporter: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.changes: dict[str, float] = {}
        """Values by name, or by name with labels as they stand on the page."""
        self.added: list[str] = []
        """Lines that the page has besides."""
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
        text = _GPU if gpu else httpx.get(f"{self._node_exporter}/metrics", trust_env=False, timeout=10).text
        return "".join(f"{self._changed(line)}\n" for line in (*text.splitlines(), *([] if gpu else self.added)))

    def _changed(self, line: str) -> str:
        found = _SAMPLE.match(line)
        if found is None:
            return line
        name, labels = found[1], found[2] or ""
        value = self.changes.get(f"{name}{labels}", self.changes.get(name))
        return line if value is None else f"{name}{labels} {value!r}"
