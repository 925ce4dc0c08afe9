"""A small HTTP server in a thread of its own, for stand-ins whose callers may hang up at any time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[str], tuple[int, bytes, str] | None]
"""Of a path: status, body and its type; None hangs up without an answer."""


class Server(ThreadingHTTPServer):
    """Starts and stops with the stage."""

    daemon_threads = True

    def __init__(self, respond: Respond, port: int = 0) -> None:
        """`port` 0 takes any."""
        super().__init__(("127.0.0.1", port), _handler(respond))
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only what is a mistake of ours is printed: who asks may give up or refuse our certificate."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _handler(respond: Respond) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = respond(self.path)
            if found is None:
                self.close_connection = True
                return
            status, body, content_type = found
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 -- BaseHTTPRequestHandler's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
