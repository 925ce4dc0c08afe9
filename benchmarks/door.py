"""What nginx, as it ships, costs before a page of a stand-in Grafana, and how many static files a core of it gives.

The stand-in is a bare nginx, so that the door is compared with the fastest Grafana there could be. Visitors come from
many addresses, as through a CDN that is trusted, because one address alone would be held to its limit.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil

from benchmarks.processes import Process, answers, free_port
from benchmarks.table import Row, Table
from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package
from tests.standins import nginx_server
from tests.standins.nginx_server import DOMAIN, Door

_RUN = float(os.environ.get("BENCH_DOOR_SECONDS", "5"))
_ROUNDS = 3
_PAGES = 500  # a round
_AT_ONCE = 32
_REACH_ADDED, _REACH_FILES = 0.001, 2_000
_PAGE, _FILE = "/d/cluster-ai-dashboard", "/public/build/app.js"
_PAGE_SIZE, _FILE_SIZE = 50_000, 10_000  # Grafana's own page, and a usual script of it
_AS_BROWSERS = {"Accept-Encoding": "gzip, deflate, br", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
_WRK = Package("wrk", {}, needs=("libluajit",))
_UPSTREAM = """\
daemon off;
pid "{folder}/pid";
error_log stderr error;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path "{folder}/1";
    proxy_temp_path "{folder}/2";
    fastcgi_temp_path "{folder}/3";
    uwsgi_temp_path "{folder}/4";
    scgi_temp_path "{folder}/5";
    server {{
        listen 127.0.0.1:{port};
        root "{folder}/root";
        location /public/ {{ default_type application/javascript; add_header Cache-Control "public, max-age=3600"; }}
        location / {{ default_type text/html; }}
    }}
}}
"""
# Each request from an address of its own; the network is one that is for benchmarks.
_SCRIPT = """\
wrk.headers["Host"] = "{domain}"
function wrk.resolve(host, service) -- whose name must be in the handshake, wherever it is
  wrk.addrs = wrk.lookup("127.0.0.1", service)
end
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
request = function()
  wrk.headers["X-Forwarded-For"] = "198.18." .. math.random(0, 255) .. "." .. math.random(0, 255)
  return wrk.format(nil, "{path}")
end
"""


def measure() -> list[Table]:
    """Pages and files, direct and through the door by turns."""
    if nginx_server.find() is None:
        return [Table("The door", [Row("all", "skipped: no nginx with brotli; `make tools` unpacks it")])]
    port = free_port()
    with (
        nginx_server.running(f"127.0.0.1:{port}", trusted_proxies=["127.0.0.0/8"]) as door,
        _upstream(door, port) as bare,
    ):
        return [_added(door, bare), _files(door, bare)]


@contextmanager
def _upstream(door: Door, port: int) -> Iterator[Process]:
    """The stand-in, by the same program as the door and under the same user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, size in ((_PAGE, _PAGE_SIZE), (_FILE, _FILE_SIZE)):
            file = folder / f"root{path}"
            file.parent.mkdir(parents=True)
            file.write_text(_text(size))
        conf = folder / "nginx.conf"
        conf.write_text(_UPSTREAM.format(folder=folder, port=port))
        door.programs.give(folder)
        program = door.programs.environment["NGINX_PROGRAM"]
        command = [program, "-c", str(conf), "-e", "stderr"]
        with subprocess.Popen(command, text=True, **door.programs.owner) as process:
            while not answers(port, _FILE):
                time.sleep(0.05)
            try:
                yield Process(process, port)
            finally:
                process.terminate()


def _text(size: int) -> str:
    """Something that compresses about as well as scripts and settings do."""
    chosen = random.Random(1)  # noqa: S311 -- the same every time
    words = ["panel", "query", "legend", "settings", "const", "function", "return", "null", "true", "dashboard"]
    line = (f'{{"{"".join(chosen.choices(words, k=2))}": {chosen.random():.3f}}},\n' for _ in range(size))
    return "".join(next(line) for _ in range(size // 16))[:size]


def _page(connection: http.client.HTTPConnection) -> float:
    """Seconds to the end of one page."""
    address = f"198.18.{random.randrange(256)}.{random.randrange(256)}"  # noqa: S311 -- not a secret
    begin = time.perf_counter()
    connection.request("GET", _PAGE, headers={**_AS_BROWSERS, "Host": DOMAIN, "X-Forwarded-For": address})
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.OK:
        raise SystemExit(f"a page was answered with {answer.status}")
    return time.perf_counter() - begin


def _through(door: Door) -> http.client.HTTPConnection:
    """A connection to the door under its name."""
    made = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
    made.sock = nginx_server.connect(door)
    made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _added(door: Door, bare: Process) -> Table:
    spent: dict[str, list[float]] = {"direct": [], "door": []}
    with ExitStack() as stack:
        direct = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", bare.port, timeout=20)))
        through = stack.enter_context(closing(_through(door)))
        for _ in range(_ROUNDS):
            for name, connection in {"direct": direct, "door": through}.items():
                spent[name] += [_page(connection) for _ in range(_PAGES)]
    middle = {name: statistics.median(all_) for name, all_ in spent.items()}
    late = {name: statistics.quantiles(all_, n=100)[-1] for name, all_ in spent.items()}
    added = middle["door"] - middle["direct"]
    return Table(
        f"A page of {_PAGE_SIZE // 1000} kB through the door, with TLS and brotli, on a kept connection",
        [
            Row("direct, median", f"{middle['direct'] * 1e6:.0f} µs"),
            Row("the door adds, median", f"{added * 1e6:.0f} µs", "", "under 1 ms", added < _REACH_ADDED),
            Row("the door adds, 99th percentile", f"{(late['door'] - late['direct']) * 1e6:.0f} µs"),
        ],
    )


def _files(door: Door, bare: Process) -> Table:
    """The core is what nginx's processes used of one, by the kernel's books; whoever asks has another."""
    program = wrk()
    rows, best = [], {"direct": 0.0, "door": 0.0}
    ways = {
        "direct": (f"http://127.0.0.1:{bare.port}", bare.process.pid),
        "door": (f"https://{DOMAIN}:{door.port}", int((door.folder / "run/nginx.pid").read_text())),
    }
    for _ in range(_ROUNDS):
        for name, (url, process) in ways.items():
            before = _cpu(process)
            asked = _by_wrk(program, url) if program else _by_hand(door, bare, through=name == "door")
            best[name] = max(best[name], asked / (_cpu(process) - before))
    for name, rate in best.items():
        reach = (f"at least {_REACH_FILES:,}", rate >= _REACH_FILES) if name == "door" else ("", None)
        rows.append(Row(name, f"{rate:,.0f} a second and core", f"{rate / best['direct']:.2f} of direct", *reach))
    how = "wrk" if program else "our own client: there is no wrk"
    return Table(
        f"Static files of {_FILE_SIZE // 1000} kB, which the door sends compressed, best of {_ROUNDS} ({how})", rows
    )


def _cpu(master: int) -> float:
    """Seconds of CPU that nginx's workers have used."""
    workers = psutil.Process(master).children()
    return sum(times.user + times.system for times in (worker.cpu_times() for worker in workers))


def _by_wrk(program: Path, url: str) -> int:
    """How many files came within the time."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.lua"
        script.write_text(_SCRIPT.format(domain=DOMAIN, path=_FILE))
        libraries = ":".join(str(path) for path in program.parents[2].glob("usr/lib/*-linux-gnu"))
        command = [str(program), "-t1", f"-c{_AT_ONCE}", f"-d{_RUN:.0f}s", "-s", str(script), url]
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
        said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    done = re.search(r"(\d+) requests in", said)
    if done is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"wrk said: {said}")
    return int(done[1])


def _by_hand(door: Door, bare: Process, *, through: bool) -> int:
    """The same on one connection, which is slower but costs nginx the same."""
    done, end = 0, time.monotonic() + _RUN
    made = _through(door) if through else http.client.HTTPConnection("127.0.0.1", bare.port, timeout=20)
    with closing(made) as connection:
        while time.monotonic() < end:
            address = f"198.18.{random.randrange(256)}.{random.randrange(256)}"  # noqa: S311
            connection.request("GET", _FILE, headers={**_AS_BROWSERS, "Host": DOMAIN, "X-Forwarded-For": address})
            connection.getresponse().read()
            done += 1
    return done


def wrk() -> Path | None:
    """From PATH, or Debian's package as it was unpacked."""
    on_path = shutil.which("wrk")
    ours = default_cache_dir() / "debian/wrk/usr/bin/wrk"
    return Path(on_path) if on_path else ours if ours.exists() else None


def _fetch_wrk() -> None:
    if wrk() is None and debian.available():
        try:
            debian.fetch([_WRK], default_cache_dir(), print)
        except FetchError as error:
            print(f"wrk could not be had: {error}")
