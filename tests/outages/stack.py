"""A production stack on loopback: real programs with the files that are rendered for them, at a faster clock."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from compose.native.grafana import Grafana
from provisioning.render import render
from provisioning.render.prometheus_production import BLACKBOX, MTAIL
from provisioning.secrets.installation import installation
from provisioning.secrets.making import init
from tests.gameday.scaling import scale_files
from tests.outages.parts import Cache, Database, Nginx, Part, Program
from tests.ports import free_port
from tests.provisioning.secrets.installed import secret, write
from tests.standins import exporters, faketime, nginx_server, postgres_server, redis_server
from tests.standins.faketime import Clock
from tests.standins.nginx_server import Door
from tests.tools import tool

DISK_MB = 320
GRAFANAS = ("grafana-1", "grafana-2")
_PACKAGES = {
    "postgres-exporter": "prometheus-postgres-exporter",
    "redis-exporter": "prometheus-redis-exporter",
    "nginx-exporter": "prometheus-nginx-exporter",
    "nginx-log-exporter": "mtail",
    "blackbox": "prometheus-blackbox-exporter",
}
PARTS = ("postgres", "redis", *GRAFANAS, "nginx", *_PACKAGES, "node-exporter", "alertmanager", "prometheus")
_SAYS = {"grafanas": 2, "trusted_proxies": ["127.0.0.0/8"]}
_STAND_IN = "tests.standins.grafana_standin"
# Nobody runs what these would ask, and the public name leads nowhere.
_NOT_THERE = frozenset({"exporter", "probe", "native", "door_outside"})
# Prometheus's own, in s: how often it says an alert again, and how long a series counts after its last sample.
_FLAGS = {"rules.alert.resend-delay": 60.0, "query.lookback-delta": 300.0}
_SNAPSHOT = 60.0  # s, how often Alertmanager writes down its silences in our compose file


class Stack:
    """All parts by name, none of them started yet."""

    def __init__(self, folder: Path, factor: float, disk: Path | None) -> None:
        self.folder, self.factor, self.disk = folder, factor, disk
        self.home = Path(os.environ["GRAFANA_HOME"]) if "GRAFANA_HOME" in os.environ else None
        self.at = {name: f"127.0.0.1:{free_port()}" for name in PARTS if name != "nginx"}
        (folder / "door").mkdir()
        self.door = Door(folder / "door", tuple(self.at[name] for name in GRAFANAS), _SAYS, "127.0.0.1:9")
        self.door.new_certificate(lasts=dt.timedelta(days=90))
        library = faketime.find()
        self.clock = None if library is None else Clock(library, folder)
        self._configure()
        self.parts = self._parts()

    def _configure(self) -> None:
        """One installation whose parts are all where the door and we expect them."""
        at, door = self.at, self.door
        lines = ("grafanas: 2", "trusted_proxies: [127.0.0.0/8]")
        addresses = (f"https: '127.0.0.1:{door.port}'", f"http: '127.0.0.1:{door.http}'")
        there = installation(write(self.folder, *lines, *addresses), postgres=at["postgres"], redis=at["redis"])
        (self.folder / "redis").mkdir()
        self._parts_at = replace(
            door.places,
            postgres=at["postgres"],
            postgres_socket=self.folder / "postgres",
            redis=at["redis"],
            redis_data=self.folder / "redis",
            postgres_exporter=at["postgres-exporter"],
            redis_exporter=at["redis-exporter"],
            nginx_exporter=at["nginx-exporter"],
            nginx_log_exporter=at["nginx-log-exporter"],
            blackbox=at["blackbox"],
        )
        moved = {"prometheus": at["prometheus"], "alertmanager": at["alertmanager"], "grafana": at["grafana-1"]}
        services = there.config.services.model_copy(update={**moved, "node_exporter": at["node-exporter"]})
        places = replace(there.places, production=self._parts_at, data=self.folder / "grafana-1")
        config = there.config.model_copy(update={"services": services})
        self.there = replace(there, config=config, places=places, parts=self._parts_at)
        init(self.there)
        door.config, door.places = config, self._parts_at
        self.rendered = self.folder / "rendered"
        render(config, self.rendered, places=places)
        scale_files(self.rendered, self.factor, self._changed)
        second = config.model_copy(update={"services": services.model_copy(update={"grafana": at["grafana-2"]})})
        render(second, self.folder / "rendered-2", places=replace(places, data=self.folder / "grafana-2"))

    def _changed(self, path: Path, data: Any) -> Any:
        """Prometheus asks what there is, and of this machine's disks the small one alone."""
        if path.name == "prometheus.yml":
            data["scrape_configs"] = [job for job in data["scrape_configs"] if job["job_name"] not in _NOT_THERE]
            for job in data["scrape_configs"]:
                if job["job_name"] == "node":
                    ours = {"source_labels": ["mountpoint"], "regex": f"|{self.disk}", "action": "keep"}
                    job["metric_relabel_configs"] = [ours]
                if job["job_name"] == "postgres":  # it waits for a second before it says that PostgreSQL is away
                    job |= {"scrape_interval": "3s", "scrape_timeout": "3s"}
        return data

    def _parts(self) -> dict[str, Part]:
        grafanas = {"grafana-1": self.rendered, "grafana-2": self.folder / "rendered-2"}
        (self.folder / "grafana-1/grafana/plugins").mkdir(parents=True)
        (self.folder / "grafana-2/grafana/plugins").mkdir(parents=True)
        return {
            "postgres": Database(postgres_server.Postgres(self.there, self.folder / "postgres"), self.clock),
            "redis": Cache(redis_server.Rendered(redis_server.needed(), self.there, self.folder / "redis")),
            **{name: self._grafana(name, out) for name, out in grafanas.items()},
            "nginx": Nginx(self.door),
            **self._exporters(),
            "alertmanager": self._alertmanager(),
            "prometheus": self._prometheus(),
        }

    def _program(self, name: str, ready: str, *command: str, environment: dict[str, str] | None = None) -> Program:
        return Program(list(command), f"http://{self.at[name]}{ready}", self.folder / f"{name}.log", environment)

    def _grafana(self, name: str, out: Path) -> Program:
        if self.home is None:
            port = self.at[name].rpartition(":")[2]
            return self._program(name, "/api/health", sys.executable, "-P", "-m", _STAND_IN, name, port)
        command = Grafana(self.home, self.home / "bin/grafana").command(out / "grafana/grafana.ini")
        return self._program(name, "/api/health", *command)

    def _exporters(self) -> dict[str, Part]:
        at, secrets = self.at, self.there.secrets
        asked = {
            "DATA_SOURCE_URI": f"{at['postgres']}/postgres?sslmode=disable",
            "DATA_SOURCE_USER": "monitoring",
            "DATA_SOURCE_PASS_FILE": str(secrets / "postgres-exporter-password"),
        }
        redis = (f"-redis.addr=redis://{at['redis']}", "-redis.user=monitoring")
        mtail = ("--progs", str(self.rendered / MTAIL), "--logs", str(self.door.folder / "responses.json"))
        port = at["nginx-log-exporter"].rpartition(":")[2]
        commands: dict[str, tuple[str, ...]] = {
            "postgres-exporter": (f"--web.listen-address={at['postgres-exporter']}",),
            "redis-exporter": (
                *(*redis, f"-redis.password-file={secrets / 'redis-exporter-passwords'}"),
                f"-web.listen-address={at['redis-exporter']}",
            ),
            "nginx-exporter": (
                f"-nginx.scrape-uri=http://127.0.0.1:{self.door.status}/stub_status",
                f"-web.listen-address={at['nginx-exporter']}",
            ),
            "nginx-log-exporter": (*mtail, "--address", "127.0.0.1", "--port", port, "--logtostderr"),
            "blackbox": (f"--config.file={self.rendered / BLACKBOX}", f"--web.listen-address={at['blackbox']}"),
        }
        made: dict[str, Part] = {}
        for name, arguments in commands.items():
            program = str(exporters.needed(_PACKAGES[name]))
            environment = asked if name == "postgres-exporter" else None
            made[name] = self._program(name, "/metrics", program, *arguments, environment=environment)
        listen = f"--web.listen-address={at['node-exporter']}"
        made["node-exporter"] = self._program("node-exporter", "/metrics", tool("node_exporter"), listen)
        return made

    def _alertmanager(self) -> Program:
        return self._program(
            "alertmanager",
            "/-/ready",
            tool("alertmanager"),
            f"--config.file={self.rendered / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={self.at['alertmanager']}",
            "--cluster.listen-address=",
            f"--data.maintenance-interval={round(_SNAPSHOT / self.factor * 1000)}ms",
        )

    def _prometheus(self) -> Program:
        flags = (f"--{name}={round(value / self.factor * 1000)}ms" for name, value in _FLAGS.items())
        return self._program(
            "prometheus",
            "/-/ready",
            tool("prometheus"),
            f"--config.file={self.rendered / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={self.at['prometheus']}",
            *flags,
        )

    def lacks(self, need: str) -> str | None:
        """Why a fault that needs this is left out; None when it is there."""
        why = {
            "disk": "a small disk can only be mounted by root" if self.disk is None else None,
            "clock": "libfaketime is not unpacked (`make tools` unpacks it)" if self.clock is None else None,
        }
        return why[need]

    def password(self, name: str) -> str:
        return secret(self.there, name)


@contextlib.contextmanager
def running(factor: float, say: Callable[[str], None]) -> Iterator[Stack]:
    """A stack that answers; or it is skipped with the reason, as tests are, where a program is missing."""
    nginx_server.needed()
    with ExitStack() as undo:
        undo.enter_context(postgres_server.with_programs())
        folder = undo.enter_context(postgres_server.folder())
        database = folder / "postgres"
        database.mkdir()
        disk = _mounted(folder, database, undo)
        stack = Stack(folder, factor, disk)
        say(f"Grafana: {stack.home or 'a stand-in, since GRAFANA_HOME is not set'}")
        for name, part in stack.parts.items():
            undo.callback(part.kill)
            part.begin()
            say(f"  {name} is started")
        for part in stack.parts.values():
            part.wait()
        yield stack


def _mounted(folder: Path, place: Path, undo: ExitStack) -> Path | None:
    """A small disk at that place, with a file system as real ones have; None where there can be none."""
    image = folder / "disk.image"
    with image.open("wb") as file:
        file.truncate(DISK_MB << 20)
    for command in (["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, place]):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    undo.callback(subprocess.run, ["umount", "-l", place], check=True, capture_output=True)
    return place
