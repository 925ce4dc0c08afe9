from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority


@contextmanager
def served(status: int, context: ssl.SSLContext | None = None) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/-/healthy" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def asked(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "compose.healthy", f"{port}/-/healthy"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (401, 0), (403, 0), (404, 1), (500, 1), (503, 1)])
def test_a_service_is_well_that_answers_or_asks_who_is_there(status: int, code: int) -> None:
    with served(status) as port:
        result = asked(port)
    assert (result.returncode, result.stdout) == (code, f"port {port}: {status}\n")


def test_a_certificate_is_not_looked_at(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority("nobody").write_pair(tmp_path, name="elsewhere.example.org"))
    with served(200, context) as port:
        assert asked(port).returncode == 0


def test_nobody_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = asked(port)
    assert result.returncode == 1
    assert "refused" in result.stdout
