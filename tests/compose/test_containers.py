"""The compose files are safe to expose, and whoever makes one unsafe is told."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compose.images import DEBIAN, IMAGES, PYTHON, VERSION
from tests.compose.audit import CLUSTERS, problems
from tests.compose.compose_files import BASE, DEV, FOLDER, PROD, named, variables
from tests.compose.installation import PRODUCTION, TARGETS, dev, installed, stack

ROOT = FOLDER.parent
Stack = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("audit") / "host")


@pytest.fixture(scope="module")
def safe(folder: Path) -> Stack:
    return stack(folder)


def test_the_stack_is_safe_to_expose(safe: Stack, folder: Path) -> None:
    assert problems(safe, folder) == []


def test_only_the_door_is_published_and_as_the_file_says(safe: Stack) -> None:
    assert {name: service["ports"] for name, service in safe["services"].items() if "ports" in service} == {
        "nginx": ["0.0.0.0:80:8080", "0.0.0.0:443:8443"]
    }


def test_one_command_reaches_the_databases_and_whom_it_asks_about_alerts(safe: Stack) -> None:
    networks = {name: set(safe["services"][name]["networks"]) for name in ("admin", "alertmanager", "sms-bridge")}
    assert networks["admin"] == {"data", "watch"}
    assert "watch" in networks["alertmanager"] & networks["sms-bridge"]


def service(name: str, **changes: Any) -> Callable[[Stack], None]:
    def change(made: Stack) -> None:
        for key, value in changes.items():
            if value is None:
                del made["services"][name][key]
            else:
                made["services"][name][key] = value

    return change


def mount(name: str, source: str, *, read_only: bool = True) -> Callable[[Stack], None]:
    def change(made: Stack) -> None:
        first = Path(made["services"]["prometheus"]["volumes"][0]["source"]).parents[1]
        whole = source.format(folder=first)
        made["services"][name]["volumes"].append({"source": whole, "target": whole, "read_only": read_only})

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (service("redis", image="redis"), "redis: image 'redis' is not pinned"),
        (service("redis", image="redis:latest"), "redis: image 'redis:latest' is not pinned"),
        (service("redis", image="redis:8"), "redis: image 'redis:8' is not pinned"),
        (service("redis", image="redis:7.0.1"), "redis: image 'redis:7.0.1' is not one of compose/images.py"),
        (service("loudspeaker", image="redis:8.2.8-bookworm"), "loudspeaker: runs as root"),
        (service("postgres", user=None), "postgres: runs as root"),
        (service("postgres", user="0:0"), "postgres: runs as root"),
        (service("postgres", user="999:0"), "postgres: runs as root"),
        (service("nginx", read_only=False), "nginx: has a writable root"),
        (service("nginx", cap_drop=None), "nginx: keeps capabilities"),
        (service("nginx", cap_add=["NET_BIND_SERVICE"]), "nginx: keeps capabilities"),
        (service("nginx", security_opt=["seccomp:unconfined"]), "nginx: may gain privileges"),
        (service("nginx", privileged=True), "nginx: is privileged"),
        (service("node-exporter", pid="host"), "node-exporter: shares pid"),
        (service("node-exporter", network_mode="host"), "node-exporter: shares network_mode"),
        (service("prometheus", ports=["127.0.0.1:9090:9090"]), "prometheus: publishes a port"),
        (service("grafana-2", ports=["3000:3000"]), "grafana-2: publishes a port"),
        (service("grafana-3", networks=["watch", "targets"]), "grafana-3: is in the clusters' network"),
        (service("exporter", mem_limit=None), "exporter: has no mem_limit"),
        (service("exporter", cpus=None), "exporter: has no cpus"),
        (service("exporter", pids_limit=None), "exporter: has no pids_limit"),
        (service("exporter", healthcheck=None), "exporter: has no health check"),
        (service("exporter", healthcheck={"test": ["CMD", "true"], "disable": True}), "exporter: has no health check"),
        (service("exporter", restart="no"), "exporter: stays down"),
        (service("exporter", logging={"driver": "json-file"}), "exporter: has logs without end"),
        (
            service("postgres", environment={"POSTGRES_PASSWORD": "postgres"}),
            "postgres: POSTGRES_PASSWORD would show a",
        ),
        (mount("nginx", "/var/run/docker.sock"), "nginx: holds the engine's socket"),
        (mount("nginx", "{folder}/rendered/nginx", read_only=False), "nginx: may write "),
        (mount("nginx", "{folder}/secrets"), "nginx: is given every secret"),
        (mount("nginx", "{folder}"), "nginx: is given every secret"),
        (mount("nginx", "{folder}/secrets/nothing-here"), "nginx: secret nothing-here is missing"),
        (lambda made: made["networks"]["data"].pop("internal"), "network data is open"),
    ],
)
def test_the_audit_finds(change: Callable[[Stack], None], said: str, safe: Stack, folder: Path) -> None:
    broken = copy.deepcopy(safe)
    broken["services"]["loudspeaker"] = {**broken["services"]["redis"], "user": "root"}
    only_that = set(problems(broken, folder))
    if said.startswith("loudspeaker"):
        assert only_that == {"loudspeaker: runs as root"}
        return
    del broken["services"]["loudspeaker"]
    change(broken)
    found = problems(broken, folder)
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    ("value", "mode", "said"),
    [("admin", 0o600, "is a default"), ("", 0o600, "is a default"), ("a-good-one", 0o644, "is open to others")],
)
def test_the_audit_finds_a_bad_secret(value: str, mode: int, said: str, tmp_path: Path) -> None:
    folder = installed(tmp_path / "host")
    path = folder / "secrets/postgres-password"
    path.write_text(value)
    path.chmod(mode)
    readers = ("backup", "postgres")
    assert problems(stack(folder), folder) == [f"{name}: secret postgres-password {said}" for name in readers]


def test_every_image_is_the_one_place_s_and_every_one_there_is_used(safe: Stack, tmp_path: Path) -> None:
    used = {one["image"] for one in safe["services"].values()}
    small = installed(tmp_path / "dev", TARGETS)
    used |= {one["image"] for one in dev(small)["services"].values()}
    assert used == set(IMAGES.values())


def test_our_images_have_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert set(re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE)) == {VERSION}
    for text, base in ((dockerfile, PYTHON), ((FOLDER / "nginx/Dockerfile").read_text(), DEBIAN)):
        assert set(re.findall(r"^FROM (\S+:\S+)", text, re.MULTILINE)) == {base}
        assert re.search(r":\w+[.-]\d+", base)  # a moment of it, not what is newest
    assert f"docker.io/library/{PYTHON}" in dockerfile


def test_our_image_has_the_locked_packages_and_those_that_a_bridge_may_need() -> None:
    pin = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
    locked, shipped = (
        dict(pin.findall((ROOT / name).read_text())) for name in ("requirements.lock", "requirements-image.lock")
    )
    assert locked.items() <= shipped.items()
    assert {"apprise", "redis"} <= shipped.keys()


def test_every_variable_is_rendered_and_none_for_nothing(folder: Path) -> None:
    given = set(variables(folder / "rendered/compose.env"))
    assert named(BASE) | named(PROD) == given - {"COMPOSE_PROFILES"}
    assert named(DEV) <= given
    assert set(variables(FOLDER / ".env.example")) == given


def test_the_clusters_network_is_joined_by_those_who_watch_them(safe: Stack) -> None:
    joined = {name for name, one in safe["services"].items() if "targets" in one.get("networks", ())}
    assert joined == CLUSTERS


def test_the_first_grafana_alone_changes_the_database(safe: Stack) -> None:
    """The others would end, because they do not wait for its lock."""
    first, *others = sorted(name for name in safe["services"] if name.startswith("grafana-"))
    assert others
    assert first not in safe["services"][first]["depends_on"]
    for name in others:
        waits = {"condition": "service_healthy"}
        assert safe["services"][name]["depends_on"] == {"postgres": waits, "redis": waits, first: waits}


def test_those_who_change_it_get_loopback_and_no_database(tmp_path: Path) -> None:
    made = dev(installed(tmp_path / "host", TARGETS))
    ports = [port for one in made["services"].values() for port in one.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:3001:3000", "127.0.0.1:9090:9090", "127.0.0.1:9093:9093", "127.0.0.1:9860:9860"]
    assert not {"nginx", "postgres", "redis"} & made["services"].keys()


def test_production_alone_runs_the_same_services_with_every_option_off(tmp_path: Path) -> None:
    folder = installed(tmp_path / "host", TARGETS.replace('proxy: {listen: "0.0.0.0:11435"}, ', "") + PRODUCTION)
    assert variables(folder / "rendered/compose.env")["COMPOSE_PROFILES"] == ""
    assert problems(stack(folder), folder) == []
