"""A server that gives Ollama's recorded answers, each event in a chunk of its own as Ollama writes them.

`messages` and `responses` are what Ollama 0.17.4 encodes, which the Ollama that CI can build does not have yet.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures" / "ollama" / "0.17.4"
STREAMS = {
    "/api/chat": ("chat-stream.txt", "application/x-ndjson", b"\n"),
    "/v1/chat/completions": ("openai-chat-stream.txt", "text/event-stream", b"\n\n"),
    "/v1/messages": ("messages-stream.txt", "text/event-stream", b"\n\n"),
    "/v1/responses": ("responses-stream.txt", "text/event-stream", b"\n\n"),
}
WHOLE = {"/v1/messages": "messages.json", "/v1/responses": "responses.json"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream", self.path.startswith("/api/")):
            file, kind, end = STREAMS[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in (FIXTURES / file).read_bytes().split(end)[:-1]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event + end), event + end))
            self.wfile.write(b"0\r\n\r\n")
        else:
            body = (FIXTURES / WHOLE[self.path]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def recorded() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
