"""A stand-in for Twilio, and the phones behind it."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from tests.gameday.messages import Ledger, Message


class Phones:
    """Takes messages as Twilio's API does; may be told to fail."""

    token = "0123456789abcdef"

    def __init__(self, ledger: Ledger) -> None:
        self.status = 201
        self.delay = 0.0
        self.refused = 0
        phones = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                time.sleep(phones.delay)
                to, body = form["To"][0], form["Body"][0]
                if phones.status == 201:
                    ledger.add(Message("sms", to, "", body))
                else:
                    phones.refused += 1
                answer = json.dumps(
                    {"sid": "SM" + "0" * 32, "status": "queued", "code": 20000, "message": "no"}
                ).encode()
                self.send_response(phones.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
