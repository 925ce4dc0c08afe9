"""What delivery asks in the end: curl at a real door, before a Grafana that lets strangers in and one that does not."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.standins import nginx_server
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = pytest.mark.real
SCRIPT = Path(__file__).resolve().parents[2] / "compose/delivery/smoke.sh"


@contextmanager
def grafana(strangers: int) -> Iterator[str]:
    """Its address; strangers who ask for the organisation get this."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/api/health": 200, "/login": 200, "/api/org": strangers}.get(self.path, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 -- http.server's name

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def smoke(door: Door, home: Path, port: int | None = None) -> subprocess.CompletedProcess[str]:
    """As somebody to whom the name leads here, and who trusts the authority."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not on PATH")
    (home / ".curlrc").write_text(f'connect-to = "{DOMAIN}:443:127.0.0.1:{port or door.port}"\ncacert = "{door.ca}"\n')
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "SMOKE_TRIES": "1"}
    command = ["/bin/sh", SCRIPT, f"https://{DOMAIN}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_a_good_door_passes(tmp_path: Path):
    with grafana(strangers=401) as address, nginx_server.running(address) as door:
        done = smoke(door, tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("good: ") == 6


def test_what_lets_strangers_in_does_not(tmp_path: Path):
    with grafana(strangers=200) as address, nginx_server.running(address) as door:
        done = smoke(door, tmp_path)
    assert done.returncode == 1
    assert "WRONG: a stranger is not let in: 200 instead of 401" in done.stdout
    assert done.stdout.count("WRONG: ") == 1


def test_a_door_without_a_grafana_does_not(tmp_path: Path):
    with nginx_server.running("127.0.0.1:9") as door:
        done = smoke(door, tmp_path)
    assert done.returncode == 1
    assert "WRONG: it answers, and so does its database: 502 instead of 200" in done.stdout


def test_nothing_there_does_not(tmp_path: Path):
    with nginx_server.running("127.0.0.1:9") as door:
        done = smoke(door, tmp_path, port=9)
    assert done.returncode == 1
    assert "000 instead of 200" in done.stdout
