"""`cluster-ai up` with exporters that want TLS, a client certificate and a password, and share their targets."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import yaml

from tests.certificates import Authority
from tests.compose.running import until
from tests.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
PASSWORD = "correct horse"
TARGETS = ("main", "copy-2")


class Guarded:
    """A state folder with such a stack in it."""

    def __init__(self, folder: Path, scheduler: int) -> None:
        self.folder = folder
        self.ports = {
            name: free_port() for name in ("exporter-1", "exporter-2", "prometheus", "alertmanager", "node_exporter")
        }
        here = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self._certificates()
        targets = [
            {"name": name, "scheduler": f"tcp://127.0.0.1:{scheduler}", "native": "filtered"} for name in TARGETS
        ]
        services: dict[str, Any] = {name: at for name, at in here.items() if not name.startswith("exporter")}
        services["exporter_shards"] = [here["exporter-1"], here["exporter-2"]]
        exporter = {
            "web_config_file": "web.yml",
            "ca_file": "ca.pem",
            "cert_file": "cert.pem",
            "key_file": "key.pem",
            "server_name": "localhost",
            "username": "prometheus",
            "password_file": "password",
        }
        config = {"targets": {"dask": targets}, "services": services, "exporter": exporter}
        (folder / "cluster-ai.yml").write_text(yaml.safe_dump(config))

    def _certificates(self) -> None:
        authority = Authority("exporter")
        authority.write_ca(self.folder)
        authority.write_pair(self.folder)
        self.set_password(PASSWORD)

    def set_password(self, password: str) -> None:
        """For both sides; the exporter's first, as one would."""
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)).decode()
        tls = {
            "cert_file": "cert.pem",
            "key_file": "key.pem",
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ca.pem",
        }
        web = {"tls_server_config": tls, "basic_auth_users": {"prometheus": hashed}}
        (self.folder / "web.yml").write_text(yaml.safe_dump(web))
        (self.folder / "password").write_text(f"{password}\n")
        (self.folder / "password").chmod(0o600)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "provisioning.cli", *words, "--state-dir", str(self.folder / "state")]
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"GRAFANA_HOME": "/nonexistent", "HOME": str(Path.home()), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ask(self, promql: str) -> list[dict[str, Any]]:
        address = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query"
        answer = httpx.get(address, params={"query": promql}, trust_env=False)
        return list(answer.json()["data"]["result"])


@contextlib.contextmanager
def demo_cluster(folder: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "compose.native.demo", "--scheduler", f"127.0.0.1:{port}"]
    command += ["--dashboard", f"127.0.0.1:{port + 1}", "--scratch", str(folder / "scratch")]
    with (folder / "demo.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    port = free_port(run=2)
    with demo_cluster(folder, port):
        made = Guarded(folder, port)
        try:
            done = made.command("up", "--detach")
            assert done.returncode == 0, done.stdout + done.stderr
            yield made
        finally:
            made.command("down")


def test_nobody_else_gets_in(guarded: Guarded) -> None:
    port = guarded.ports["exporter-1"]
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    context = ssl.create_default_context(cafile=guarded.folder / "ca.pem")
    with pytest.raises(httpx.HTTPError):  # no client certificate
        httpx.get(f"https://127.0.0.1:{port}/metrics", verify=context, trust_env=False)
    context.load_cert_chain(guarded.folder / "cert.pem", guarded.folder / "key.pem")
    refused = httpx.get(f"https://127.0.0.1:{port}/metrics", verify=context, trust_env=False)
    assert refused.status_code == 401


def test_prometheus_gets_in_and_each_target_has_one_shard(guarded: Guarded) -> None:
    until(lambda: len(guarded.ask("dask_cluster_up == 1")) == 2, "both targets, once each", seconds=60)
    until(lambda: len(guarded.ask('up{job="exporter"} == 1')) == 2, "the exporters' own metrics", seconds=60)
    watched = {
        (one["metric"]["instance"].rsplit(":")[1], one["value"][1])
        for one in guarded.ask('cluster_ai_exporter_targets{system="dask"}')
    }
    shards = {str(guarded.ports[f"exporter-{number}"]) for number in (1, 2)}
    assert watched == {(port, "1") for port in shards}


def test_the_filtered_pages_arrive_as_native_ones(guarded: Guarded) -> None:
    filtered = 'dask_cluster_native_prefix_limit{job="native"}'
    until(lambda: len(guarded.ask(filtered)) == 2, "the schedulers' own metrics, through the exporter", seconds=60)
    # The workers' own are asked without credentials, at their own addresses.
    until(lambda: len(guarded.ask('up{job="native", worker!=""} == 1')) == 8, "four workers, seen twice", seconds=60)


def test_status_gets_in_and_shows_both_shards_and_their_targets(guarded: Guarded) -> None:
    done = guarded.command("status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert {one["name"]: one["up"] for one in seen["targets"]} == dict.fromkeys(TARGETS, True)
    running = {one["name"] for one in seen["services"] if one["state"] == "running"}
    assert {"exporter-1", "exporter-2", "prometheus"} <= running
    assert guarded.command("logs", "exporter-2").returncode == 0


def test_a_changed_password_counts_on_both_sides_without_a_restart(guarded: Guarded) -> None:
    guarded.set_password("battery staple")
    since = time.time() + 1
    assert guarded.command("status").returncode == 0
    anew = f'timestamp(scrape_samples_scraped{{job="probe"}} > 1) > {since}'
    until(lambda: len(guarded.ask(anew)) == 2, "both still scraped", seconds=30)
    assert PASSWORD not in "".join(
        path.read_text(errors="replace") for path in (guarded.folder / "state").rglob("*") if path.is_file()
    )
