"""A service for the supervisor to look after: answers HTTP, and misbehaves on request.

Run as `python fake_service.py PORT [WORD ...]`; each word is one way to misbehave.
"""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

TARGETS = b"""[{"name": "main", "system": "dask", "up": true, "error": null, "series": 3},
 {"name": "gpu", "system": "ollama", "up": false, "error": "refused", "series": 0}]"""


class Handler(http.server.BaseHTTPRequestHandler):
    deaf = False

    def do_GET(self) -> None:
        if Handler.deaf:
            time.sleep(3600)
        if self.path == "/deaf":
            Handler.deaf = True
        if self.path == "/die":
            os._exit(7)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(TARGETS if self.path == "/targets" else b"ok")

    def log_message(self, format: str, *args: object) -> None:
        pass


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def end_slowly(done: Path, *_: object) -> None:
    time.sleep(1)
    done.touch()
    os._exit(0)


def main() -> None:
    port, words = int(sys.argv[1]), sys.argv[2:]
    for word in words:
        name, _, value = word.partition("=")
        if name == "ignore-term":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif name == "slow-end":  # finishes something first
            signal.signal(signal.SIGTERM, partial(end_slowly, Path(value)))
        elif name == "grandchild":  # something that outlives its parent unless its whole group is ended
            child = subprocess.Popen(["sleep", "600"])
            Path(value).write_text(str(child.pid))
        elif name == "chatty":
            for number in range(int(value)):
                say(f"line {number}")
        elif name == "wait-for":  # becomes ready only when a file appears
            while not Path(value).exists():
                time.sleep(0.02)
        elif name == "fail":
            say("reading the configuration")
            say(f"error: {value}")
            sys.exit(3)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
