"""Each thing that is unsafe or will not work is found, from facts that are given, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compose.deploy.engine import Versions
from compose.deploy.facts import Facts
from compose.deploy.findings import GIB, findings
from provisioning.config.model import Config

FOLDER = Path("/srv/cluster-ai")
WELL = Facts(
    user=1000,
    owner=1000,
    modes={FOLDER: 0o40755, FOLDER / "cluster-ai.yml": 0o100644},
    docker=Versions("28.2.2", "2.36.0", "/var/lib/docker"),
    resolved=("192.0.2.10",),
    own=("127.0.0.1", "192.0.2.10"),
    synchronised=True,
    memory=4 * GIB,
    free={FOLDER: 50 * GIB, Path("/var/lib/docker"): 60 * GIB},
)


def config(**more: Any) -> Config:
    data: dict[str, Any] = {"targets": {}, "production": {"domain": "monitoring.example.org"}}
    return Config.model_validate(data | more)


def names(facts: Facts, **more: Any) -> list[tuple[str, bool]]:
    return [(finding.name, finding.fatal) for finding in findings(config(**more), facts)]


def test_a_good_host_has_no_finding() -> None:
    assert names(WELL) == []


@pytest.mark.parametrize(
    ("changes", "name", "fatal"),
    [
        ({"docker": Versions(why="there is no `docker` on PATH")}, "docker-missing", True),
        (
            {"docker": Versions(why="Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")},
            "docker-stopped",
            True,
        ),
        (
            {"docker": Versions(why="failed to connect to the docker API at unix:///var/run/docker.sock")},
            "docker-stopped",
            True,
        ),
        ({"docker": Versions(why="permission denied: connect to the Docker daemon socket")}, "docker-missing", True),
        ({"docker": Versions("24.0.9", "2.36.0")}, "docker-old", True),
        ({"docker": Versions("28.2.2", why="'compose' is not a docker command")}, "compose-missing", True),
        ({"docker": Versions("28.2.2", "2.19.9")}, "compose-old", True),
        ({"docker": Versions("28.2.2", "1.29.2")}, "compose-old", True),
        ({"user": 0}, "runs-as-root", True),
        ({"owner": 0}, "runs-as-root", True),
        ({"user": 1001}, "not-the-owner", True),
        ({"modes": {FOLDER: 0o40775}}, "open-to-others", True),
        ({"modes": {FOLDER / "cluster-ai.yml": 0o100666}}, "open-to-others", True),
        ({"secrets": (("postgres-password", "weak"),)}, "secret-bad", True),
        ({"missing": (Path("/srv/cluster-ai/secrets/openwebui-key"),)}, "file-missing", True),
        ({"interrupted": ("postgres-password",)}, "rotation-interrupted", False),
        ({"unmade": 11}, "secrets-missing", False),
        ({"off_site": "carry is no program"}, "off-site-bad", True),
        ({"certificate": "cert.pem has expired"}, "certificate-bad", True),
        ({"listening": frozenset({("0.0.0.0", 443)})}, "port-taken", True),
        ({"listening": frozenset({("::", 80)})}, "port-taken", True),
        ({"listening": frozenset({("127.0.0.1", 80)})}, "port-taken", True),
        ({"resolved": ()}, "name-unknown", False),
        ({"resolved": ("198.51.100.1",)}, "name-elsewhere", False),
        ({"synchronised": False}, "clock-free", False),
        ({"overcommits": False}, "overcommit-off", False),
        ({"memory": 3 * GIB // 2}, "memory-small", False),
        ({"memory": GIB // 2}, "memory-small", True),
        ({"free": {FOLDER: 4 * GIB}}, "disk-full", True),
        ({"free": {FOLDER: 50 * GIB, Path("/var/lib/docker"): GIB}}, "disk-full", True),
        ({"free": {FOLDER: 10 * GIB}}, "disk-small", False),
    ],
)
def test_what_is_wrong_with_a_host_is_found(changes: dict[str, Any], name: str, fatal: bool) -> None:
    assert names(replace(WELL, **changes)) == [(name, fatal)]


@pytest.mark.parametrize(
    "changes",
    [
        {"listening": frozenset({("0.0.0.0", 8443), ("127.0.0.1", 9090)})},
        {"listening": frozenset({("0.0.0.0", 443), ("0.0.0.0", 80)}), "running": True},
        {"resolved": ("2001:db8::1", "192.0.2.10")},
        {"synchronised": None},
        {"docker": Versions("25.0.0", "2.20.0")},
    ],
)
def test_what_is_well_is_not_complained_of(changes: dict[str, Any]) -> None:
    assert names(replace(WELL, **changes)) == []


def test_one_address_may_be_taken_when_nginx_has_another() -> None:
    production = {"domain": "monitoring.example.org", "https": "192.0.2.10:443"}
    facts = replace(WELL, listening=frozenset({("192.0.2.11", 443)}))
    assert names(facts, production=production) == []
    facts = replace(WELL, listening=frozenset({("192.0.2.10", 443)}))
    assert names(facts, production=production) == [("port-taken", True)]


def test_without_a_name_no_authority_gives_a_certificate() -> None:
    production = {"domain": "monitoring.example.org", "certificate": {"acme": {"email": "ops@example.org"}}}
    assert names(replace(WELL, resolved=()), production=production) == [("name-unknown", True)]


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("prometheus", "0.0.0.0:9090", ["public-bind"]),
        ("alertmanager", "192.0.2.10:9093", ["public-bind"]),
        ("grafana", "[::]:3001", ["public-bind"]),
        ("exporter_shards", ["127.0.0.1:9860", "10.0.0.1:9861"], ["public-bind"]),
        ("prometheus", "localhost:9090", []),
        ("prometheus", "[::1]:9090", []),
    ],
)
def test_a_service_that_is_open_to_others_is_found(key: str, value: Any, found: list[str]) -> None:
    assert [name for name, _ in names(WELL, services={key: value})] == found


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        ({"dask": [{"name": "main", "scheduler": "tcp://127.0.0.1:8786"}]}, ["target-loopback"]),
        ({"ollama": [{"name": "gpu", "url": "http://localhost:11434"}]}, ["target-loopback"]),
        ({"openwebui": [{"name": "chat", "url": "http://[::1]:3000"}]}, ["target-loopback"]),
        (
            {"ollama": [{"name": "gpu", "url": "http://10.0.0.7:11434", "proxy": {"listen": "127.0.0.1:11435"}}]},
            ["proxy-loopback"],
        ),
        ({"ollama": [{"name": "gpu", "url": "http://10.0.0.7:11434", "proxy": {"listen": "0.0.0.0:11435"}}]}, []),
    ],
)
def test_what_a_container_cannot_reach_is_found(targets: dict[str, Any], found: list[str]) -> None:
    assert [name for name, _ in names(WELL, targets=targets)] == found


def test_a_finding_says_in_one_line_what_to_do() -> None:
    facts = replace(WELL, listening=frozenset({("0.0.0.0", 443)}), synchronised=False)
    first, second = map(str, findings(config(), facts))
    assert first == (
        "error: port-taken: something listens on port 443 (0.0.0.0); see what it is (ss -ltnp 'sport = :443') and stop "
        "it, or set production.https"
    )
    assert second.startswith("warning: clock-free: ")


def test_the_stack_of_those_who_change_it_needs_no_name_and_no_ports() -> None:
    facts = replace(WELL, resolved=(), overcommits=False, listening=frozenset({("0.0.0.0", 443)}))
    assert findings(config(production=None), facts) == []
