"""A cluster broken in ten ways and more: each time the first page alone must tell what is wrong.

A real Dask cluster and the whole stack; Ollama and Open WebUI are stand-ins that give recorded answers. What the page
shows is worked out from its own panels: their queries, and the words and colours they give to values.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from distributed import Client

from dashboards.kit import AMBER, GREEN, GREY, RED
from tests.compose.running import until
from tests.dashboards.reading import alone, substituted
from tests.ports import free_port
from tests.real.test_stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
PATIENCE = 150.0  # s; the slowest alert here waits a minute, on machines that are busy
HOG = 290 << 20  # bytes beside what a worker of the demo, with its 400 MB, has anyway
PANELS = {panel["title"]: panel for panel in alone("dashboard")}


class Page:
    """The first page, read from Prometheus as Grafana does."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def tile(self, title: str) -> tuple[str, str]:
        """The word or number of a tile, and its colour."""
        panel = PANELS[title]
        defaults = panel["fieldConfig"]["defaults"]
        value = self._stack.value(substituted(panel["targets"][0]["expr"]))
        if value is None or value != value:  # noqa: PLR0124 -- NaN
            return defaults["noValue"], GREY
        for mapping in defaults["mappings"]:
            if mapping["type"] == "value" and f"{value:g}" in mapping["options"]:
                found = mapping["options"][f"{value:g}"]
                return found["text"], found["color"]
        steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
        return f"{value:g}", steps[-1]["color"]

    def wrong(self) -> set[str]:
        """The alerts under `What is wrong?`."""
        asked = next(target["expr"] for target in PANELS["What is wrong?"]["targets"] if "count by" in target["expr"])
        names = {one["metric"].get("alertname", "") for one in self._stack.query(substituted(asked))}
        return names - {PANELS["What is wrong?"]["fieldConfig"]["defaults"]["noValue"]}


class StandIn:
    """A system of recorded answers, which can hang, stop, and refuse keys."""

    def __init__(self, answers: dict[str, dict[str, Any]]) -> None:
        self.refuses_keys = False
        self.answering = threading.Event()
        self.answering.set()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand_in.answering.wait(60)
                found = answers.get(self.path.partition("?")[0], {"status": 404, "body": {}})
                if stand_in.refuses_keys and "Authorization" in self.headers:
                    found = {"status": 401, "body": {"detail": "401 Unauthorized"}}
                body = json.dumps(found["body"]).encode()
                with contextlib.suppress(OSError):  # nobody waits any more
                    self.send_response(found["status"])
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._handler = Handler
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cluster:
    """The demo's Dask cluster."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port(run=2)
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "compose.native.demo", "--scheduler", f"127.0.0.1:{self.port}"]
        command += ["--dashboard", f"127.0.0.1:{self.port + 1}", "--scratch", str(self._folder / "scratch")]
        with (self._folder / "dask.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def hang(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def fill(self, size: int) -> None:
        """Memory that the first worker cannot give back, in place of what it held so."""
        with Client(f"tcp://127.0.0.1:{self.port}", set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            first = min(workers, key=lambda address: str(workers[address]["name"]))
            client.run(lambda dask_worker: setattr(dask_worker, "hog", b"x" * size), workers=[first])

    def kill_worker(self) -> None:
        """One that does the work, at once; its nanny starts another."""
        with Client(f"tcp://127.0.0.1:{self.port}", set_as_default=False) as client:
            pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)


@dataclass
class Lab:
    """Everything that can be broken, and where it shows."""

    stack: Stack
    page: Page
    dask: Cluster
    ollama: StandIn
    chat: StandIn

    def pid(self, service: str) -> int:
        return int(self.stack.status()[service]["pid"])

    def stop(self, service: str) -> None:
        os.kill(self.pid(service), signal.SIGSTOP)

    def go_on(self, service: str) -> None:
        os.kill(self.pid(service), signal.SIGCONT)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("broken")
    parts = {f"/api/{name}": recorded(f"ollama/0.17.4/{name}.json") for name in ("tags", "ps", "version")}
    ollama = StandIn({path: {"status": 200, "body": body} for path, body in parts.items()})
    chat = StandIn(recorded("openwebui/0.12.4/answers.json")["answers"])
    dask = Cluster(folder)
    key = folder / "key"
    key.write_text("sk-recorded\n")
    key.chmod(0o600)
    targets = {
        "dask": [{"name": "demo", "scheduler": f"tcp://127.0.0.1:{dask.port}"}],
        "ollama": [{"name": "local", "url": ollama.url, "timeout": "2s"}],
        "openwebui": [{"name": "chat", "url": chat.url, "api_key_file": str(key), "refresh": "5s"}],
    }
    (folder / "cluster-ai.yml").write_text(yaml.safe_dump({"name": "broken", "targets": targets}))
    stack = Stack(folder)
    made = Lab(stack, Page(stack), dask, ollama, chat)
    try:
        done = stack.up()
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: well(made), "everything to be well", seconds=PATIENCE)
        yield made
    finally:
        stack.command("down")
        with contextlib.suppress(ProcessLookupError):
            dask.go_on()
            dask.kill()
        for stand_in in (ollama, chat):
            stand_in.answering.set()
            stand_in.stop()


def recorded(file: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((Path(__file__).parents[1] / "fixtures" / file).read_text())
    return answer


def well(lab: Lab) -> bool:
    """What the page shows of a cluster on which nothing is wrong."""
    seen = [lab.page.tile(title) for title in ("Dask", "Ollama", "Open WebUI", "Monitoring")]
    return seen == [("Up", GREEN)] * 4 and lab.page.tile("Workers")[0] in ("3", "4")


@dataclass(frozen=True)
class Fault:
    """One thing that breaks, and what then stands on the page: tiles with their words, and alerts."""

    name: str
    breaks: Callable[[Lab], object]
    heals: Callable[[Lab], object]
    tiles: dict[str, tuple[str, str]]
    alert: str = ""


FAULTS = [
    Fault(
        "the scheduler hangs",
        lambda lab: lab.dask.hang(),
        lambda lab: lab.dask.go_on(),
        {"Dask": ("Down", RED), "Ollama": ("Up", GREEN), "Critical alerts": ("1", RED)},
        "DaskSchedulerDown",
    ),
    Fault(
        "a worker is nearly out of memory",
        lambda lab: lab.dask.fill(HOG),
        lambda lab: lab.dask.fill(0),
        {"Dask": ("Up", GREEN), "Fullest worker": ("*", AMBER)},
    ),
    Fault(
        "the whole cluster is gone",
        lambda lab: lab.dask.kill(),
        lambda lab: lab.dask.start(),
        {"Dask": ("Down", RED), "Workers": ("unknown", GREY), "Tasks": ("unknown", GREY)},
        "DaskSchedulerDown",
    ),
    Fault(
        "Ollama stops",
        lambda lab: lab.ollama.stop(),
        lambda lab: lab.ollama.start(),
        {"Ollama": ("Down", RED), "Dask": ("Up", GREEN), "Models loaded": ("unknown", GREY)},
        "OllamaDown",
    ),
    Fault(
        "Ollama hangs behind an open port",
        lambda lab: lab.ollama.answering.clear(),
        lambda lab: lab.ollama.answering.set(),
        {"Ollama": ("Down", RED), "Monitoring": ("Up", GREEN)},
        "OllamaDown",
    ),
    Fault(
        "Open WebUI stops",
        lambda lab: lab.chat.stop(),
        lambda lab: lab.chat.start(),
        {"Open WebUI": ("Down", RED), "People": ("unknown", GREY)},
        "OpenWebUIDown",
    ),
    Fault(
        "Open WebUI refuses our key",
        lambda lab: setattr(lab.chat, "refuses_keys", True),
        lambda lab: setattr(lab.chat, "refuses_keys", False),
        {"Open WebUI": ("Up, partly blind", AMBER), "Critical alerts": ("0", GREEN)},
    ),
    Fault(
        "our exporter hangs",
        lambda lab: lab.stop("exporter"),
        lambda lab: lab.go_on("exporter"),
        dict.fromkeys(("Dask", "Ollama", "Open WebUI"), ("Unknown", AMBER)) | {"Monitoring": ("*", RED)},
        "MonitoringExporterDown",
    ),
    Fault(
        "node_exporter hangs",
        lambda lab: lab.stop("node_exporter"),
        lambda lab: lab.go_on("node_exporter"),
        {"Monitoring": ("1", RED), "Dask": ("Up", GREEN)},
    ),
    Fault(
        "Alertmanager hangs",
        lambda lab: lab.stop("alertmanager"),
        lambda lab: lab.go_on("alertmanager"),
        {"Monitoring": ("1", RED), "Dask": ("Up", GREEN)},
        "MonitoringAlertmanagerDown",
    ),
    Fault(
        "a worker is killed",  # the last: that it was lost is told for an hour
        lambda lab: lab.dask.kill_worker(),
        lambda _lab: None,
        {"Dask": ("Up", GREEN), "Warnings": ("*", AMBER)},
        "DaskWorkersLost",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_first_page_alone_tells_what_is_wrong(fault: Fault, lab: Lab) -> None:
    before = lab.page.wrong()
    seen: dict[str, Any] = {}

    def told() -> bool:
        seen.update({title: lab.page.tile(title) for title in fault.tiles}, wrong=lab.page.wrong() - before)
        words = all(
            seen[title][1] == color and word in ("*", seen[title][0]) for title, (word, color) in fault.tiles.items()
        )
        return words and (not fault.alert or fault.alert in seen["wrong"])

    assert not fault.alert or fault.alert not in before
    fault.breaks(lab)
    try:
        until(told, f"the page to tell that {fault.name}", seconds=PATIENCE)
    except AssertionError:
        pytest.fail(f"{fault.name}: the page shows {seen}")
    finally:
        fault.heals(lab)
    until(lambda: well(lab) and fault.alert not in lab.page.wrong() - {"DaskWorkersLost"}, "all well", seconds=PATIENCE)


def test_there_are_ten_ways() -> None:
    assert len(FAULTS) >= 10
