"""Streams through the proxy, through ollama-metrics and direct: how many a second, how much later, with what memory.

The upstream is a program in C (token_stream.c), which a compiler on PATH makes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeVar

import yaml

from benchmarks.processes import Process, free_port, running, telling_its_port
from benchmarks.streams import Streams, connect, request, whole
from benchmarks.table import Row, Table

_ROUNDS = 3  # of each way, by turns
_FLAT_OUT, _PACED, _OPEN = 8, 50, 1_000  # streams
_PAUSE = 20_000  # µs between two tokens of a paced stream
_WARM, _RUN = 1.0, 4.0  # s
_FIRSTS = 300
_CHURN = float(os.environ.get("BENCH_PROXY_CHURN", "120"))  # s
_REACH_RATE, _REACH_FIRST, _REACH_MEMORY, _REACH_GROWTH = 300_000, 0.001, 150, 1.0
_SOURCE = Path(__file__).with_name("token_stream.c")
Ways = Mapping[str, Process]
T = TypeVar("T")


def measure() -> list[Table]:
    """All ways at once, by turns."""
    with ExitStack() as stack:
        upstream = stack.enter_context(token_stream())
        if upstream is None:
            return [Table("Streams through the proxy", [Row("all", "skipped: no C compiler on PATH")])]
        ways = {"direct": upstream, "ours": stack.enter_context(our_proxy(upstream.port))}
        peer = shutil.which("ollama-metrics")
        if peer is not None:
            ways["ollama-metrics"] = stack.enter_context(_peer(peer, upstream.port))
        tables = [_rates(ways), _latencies(ways), _firsts(ways), _memory(ways)]
    if peer is None:
        tables[0].rows.append(Row("ollama-metrics", "skipped: not on PATH"))
    return tables


@contextmanager
def token_stream() -> Iterator[Process | None]:
    """The upstream; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "token_stream"
        subprocess.run([compiler, "-O2", "-pthread", "-o", program, _SOURCE], check=True)
        with telling_its_port([str(program)]) as process:
            yield process


@contextmanager
def our_proxy(upstream: int) -> Iterator[Process]:
    """`cluster-ai proxy`, with the port that clients use."""
    port, metrics = free_port(), free_port()
    target = {"name": "gpu", "url": f"http://127.0.0.1:{upstream}", "proxy": {"listen": f"127.0.0.1:{port}"}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cluster-ai.yml"
        file.write_text(yaml.safe_dump({"targets": {"ollama": [target]}}))
        command = [sys.executable, "-m", "provisioning.cli", "proxy", "--config", str(file), "--log.level", "error"]
        with running([*command, "--web.listen-address", f"127.0.0.1:{metrics}"], metrics, "/-/ready") as process:
            yield Process(process.process, port)


@contextmanager
def _peer(program: str, upstream: int) -> Iterator[Process]:
    port = free_port()  # it listens on every address of this machine and offers no way to change that
    environment = {"OLLAMA_HOST": f"http://127.0.0.1:{upstream}", "PORT": str(port)}
    with running([program], port, "/metrics", environment) as process:
        yield process


def _by_turns(ways: Ways, once: Callable[[Process], T]) -> dict[str, list[T]]:
    """Each way in each round, so that what else the machine does meets all alike."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, process in ways.items():
            found[name].append(once(process))
    return found


def _rate(process: Process) -> float:
    with Streams(process.port, _FLAT_OUT, 10**9, 0) as streams:
        streams.read(_WARM)
        before = streams.pieces
        took = streams.read(_RUN)
        return (streams.pieces - before) / took


def _rates(ways: Ways) -> Table:
    found = {name: max(rates) for name, rates in _by_turns(ways, _rate).items()}
    rows = []
    for name, rate in found.items():
        reach = (f"at least {_REACH_RATE / 1e6:.2f} M", rate >= _REACH_RATE) if name == "ours" else ("", None)
        rows.append(Row(name, f"{rate / 1e6:.2f} M/s", f"{rate / found['direct']:.2f} of direct", *reach))
    return Table(f"{_FLAT_OUT} streams flat out, pieces a second, best of {_ROUNDS}", rows)


def _paced(process: Process) -> tuple[list[float], float]:
    chunks = int((_WARM + _RUN) * 1e6 / _PAUSE)
    with Streams(process.port, _PACED, chunks, _PAUSE) as streams:
        streams.read(_WARM)
        cpu = process.cpu()
        took = streams.read(_RUN - _WARM, timed=True)
        cpu = (process.cpu() - cpu) / took
        streams.read(60)
        if streams.pieces != _PACED * chunks:
            raise SystemExit(f"{streams.pieces} pieces of {_PACED * chunks} came")
        return streams.late, cpu


def _latencies(ways: Ways) -> Table:
    found = _by_turns(ways, _paced)
    late = {name: [one for lates, _ in rounds for one in lates] for name, rounds in found.items()}
    points = {name: (statistics.median(all_), statistics.quantiles(all_, n=100)[-1]) for name, all_ in late.items()}
    share = {name: statistics.mean(cpu for _, cpu in rounds) for name, rounds in found.items()}
    rows = []
    for number, what in enumerate(("median", "99th percentile")):
        floor = points["direct"][number]
        rows.append(Row(f"direct, {what} from writing to reading", _us(floor)))
        theirs = points["ollama-metrics"][number] - floor if "ollama-metrics" in points else None
        ours = points["ours"][number] - floor
        met = ours <= theirs if theirs is not None else None
        rows.append(
            Row(
                f"ours adds, {what}", _us(ours), f"{share['ours'] * 100:.0f} % of a core", "at most ollama-metrics", met
            )
        )
        if theirs is not None:
            rows.append(
                Row(f"ollama-metrics adds, {what}", _us(theirs), f"{share['ollama-metrics'] * 100:.0f} % of a core")
            )
    return Table(f"{_PACED} streams of {1_000_000 // _PAUSE} tokens a second, a piece", rows)


def _first(process: Process) -> list[float]:
    """Seconds to the first piece, each on a connection of its own."""
    found = []
    for _ in range(_FIRSTS):
        begin = time.perf_counter()
        with closing(connect(process.port)) as client:
            client.sendall(request(1, 0))
            found.append(whole(client)[0] - begin)
    return found


def _firsts(ways: Ways) -> Table:
    found = {name: [one for firsts in rounds for one in firsts] for name, rounds in _by_turns(ways, _first).items()}
    floor = statistics.median(found["direct"])
    rows = [Row("direct, median", _us(floor))]
    for name in (name for name in found if name != "direct"):
        added = statistics.median(found[name]) - floor
        reach = ("under 1 ms", added < _REACH_FIRST) if name == "ours" else ("", None)
        rows.append(Row(f"{name} adds, median", _us(added), "", *reach))
    return Table("The first token, each request on a new connection", rows)


def _memory(ways: Ways) -> Table:
    rows = []
    for name in (name for name in ways if name != "direct"):
        process = ways[name]
        with Streams(process.port, _OPEN, 1_000, 1_000_000) as streams:
            streams.read(5.0)
            memory = process.rss()
        reach = (f"under {_REACH_MEMORY} MiB", memory < _REACH_MEMORY) if name == "ours" else ("", None)
        rows.append(Row(f"{name}, with {_OPEN:,} open streams", f"{memory:.0f} MiB", "", *reach))
    rows.append(_growth(ways["ours"]))
    return Table("Memory", rows)


def _growth(process: Process) -> Row:
    """Streams that come, and go whole or in the middle, for minutes."""
    requests = _churn(process, _CHURN / 6)
    before = process.rss()
    requests += _churn(process, _CHURN)
    grown = process.rss() - before
    what = f"ours grows in {_CHURN / 60:.1f} minutes of {requests:,} streams, a quarter of them left in the middle"
    return Row(what, f"{grown:+.1f} MiB", f"of {before:.0f} MiB", "0 (under 1 MiB)", grown < _REACH_GROWTH)


def _churn(process: Process, seconds: float) -> int:
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        with Streams(process.port, 15, 50, 100) as whole_ones, Streams(process.port, 5, 10_000, 100) as left:
            left.read(0.01)
            whole_ones.read(20)
            done += 20
    return done


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"
