"""Who may import whom, and what a system needs to be complete."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.collectors import registry
from provisioning.config.targets import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("exporter", "dashboards", "alert_rules", "provisioning", "compose")

# module prefix -> prefixes of ours it may import (itself aside); the longest matching prefix counts
ALLOWED = {
    "provisioning.config": (),
    "provisioning.render": ("alert_rules", "dashboards.build", "provisioning.config", "provisioning.grafana.passwords"),
    "provisioning.render.cli": ("provisioning",),
    "provisioning.cli": ("provisioning", "exporter.cli", "compose.cli", "dashboards.cli"),
    "provisioning.checked": ("alert_rules", "exporter.door", "provisioning.config"),
    "provisioning.init": ("provisioning.config", "exporter.discover", "exporter.errors"),
    "provisioning.grafana": ("provisioning.config",),
    # Where what `up` started listens, and where its administrator's password is.
    "provisioning.grafana.cli": (
        "compose.native.places",
        "compose.native.record",
        "provisioning.config",
        "provisioning.grafana",
    ),
    "provisioning": ("provisioning",),
    # Neither imports the exporter: what they have in common are the names of metrics, which a test compares.
    "alert_rules": ("provisioning.config",),
    # The bridge is a server: it stands behind the same door, and lines of its log look the same.
    "alert_rules.bridge": (
        "alert_rules.routing.names",
        "exporter.door",
        "exporter.flags",
        "exporter.logs",
        "provisioning.config",
    ),
    "dashboards.kit": (),
    "dashboards": ("alert_rules.runbooks", "alert_rules.thresholds", "dashboards.kit"),
    "exporter.apart": (),
    "exporter.errors": (),
    "exporter.families": (),
    "exporter.dask_protocol": ("exporter.errors",),
    "exporter.collectors": (
        "exporter.apart",
        "exporter.collectors",
        "exporter.errors",
        "exporter.families",
        "provisioning.config",
    ),
    "exporter.client": (
        "exporter.apart",
        "exporter.client",
        "exporter.collectors.base",
        "exporter.dask_protocol",
        "exporter.errors",
        "provisioning.config",
    ),
    "exporter.kept": ("exporter.collectors.base", "exporter.errors", "exporter.families"),
    "exporter.scrape": (
        "exporter.collectors.base",
        "exporter.errors",
        "exporter.families",
        "exporter.kept",
        "provisioning.config",
    ),
    "exporter.discover": ("exporter.client", "exporter.collectors", "exporter.errors", "provisioning.config"),
    "exporter.doctor": (
        "exporter.client",
        "exporter.collectors",
        "exporter.discover",
        "exporter.errors",
        "exporter.families",
        "exporter.fleet",
        "exporter.scrape",
        "provisioning.config",
    ),
    "exporter.door": ("exporter.door", "exporter.logs", "provisioning.config"),
    "exporter.flags": ("exporter.door",),
    "exporter.logs": ("provisioning.config",),
    # Nothing of how targets are read: it only passes bytes on, and behind the same door says what it saw.
    "exporter.proxy": (
        "exporter.door",
        "exporter.families",
        "exporter.flags",
        "exporter.logs",
        "exporter.proxy",
        "provisioning.config",
    ),
    "exporter": ("exporter", "provisioning.config"),
    "compose": (
        "compose",
        "provisioning.checked",
        "provisioning.config",
        "provisioning.grafana",
        "provisioning.render",
        "provisioning.secrets",
    ),
}
SERVERS = ("aiohttp.web", "http.server")
SOCKETS = ("aiohttp", "httpx", "urllib.request", "http.client")


def modules() -> Iterator[tuple[str, Path]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


MODULES = {name for name, _ in modules()}


def imports(path: Path) -> set[str]:
    """Imported modules; of ours, the module itself also where a name in it is imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                ours = name.split(".", maxsplit=1)[0] in ROOMS
                found.add(name if not ours or name in MODULES else str(node.module))
    return found


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: "" if "/" in str(value) else str(value))
def test_data_flows_one_way(module, path):
    home = max((prefix for prefix in ALLOWED if within(module, prefix)), key=len)
    for name in imports(path):
        if name.split(".")[0] not in ROOMS or within(name, home):
            continue
        assert any(within(name, prefix) for prefix in ALLOWED[home]), f"{module} must not import {name}"


@pytest.mark.parametrize(("module", "path"), [pair for pair in modules() if within(pair[0], "exporter.collectors")])
def test_collectors_open_no_sockets_and_serve_nothing(module, path):
    assert not [name for name in imports(path) for bad in (*SERVERS, *SOCKETS, "socket") if within(name, bad)]


def test_only_the_client_talks_and_only_the_web_serves():
    for module, path in modules():
        names = imports(path)
        if within(module, "exporter") and not within(module, "exporter.client"):
            talking = [name for name in names for bad in SOCKETS if within(name, bad)]
            assert not [name for name in talking if name != "aiohttp" and not within(name, "aiohttp.web")], module
        serving = ("exporter.web", "exporter.door", "exporter.proxy.serving")
        if within(module, "exporter") and not any(within(module, one) for one in serving):
            assert not [name for name in names for bad in SERVERS if within(name, bad)], module


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_complete(system):
    """What a fourth system must bring; the names of the missing pieces are the to-do list."""
    missing = []
    if system not in registry():
        missing.append(f"exporter/collectors/{system}.py with a COLLECTOR")
    folders = (f"tests/golden/{system}", f"tests/fixtures/{system}", f"tests/exporter/{system}")
    missing.extend(what for what in folders if not any((ROOT / what).glob("*")))
    if not (ROOT / f"tests/real/test_{system}.py").exists():
        missing.append(f"tests/real/test_{system}.py")
    if f"## {registry()[system].prefix}" not in (ROOT / "docs" / "metrics.md").read_text():
        missing.append(f"a section of {system} in docs/metrics.md (make generate)")
    if not (ROOT / f"dashboards/pages/{system}.py").exists():
        missing.append(f"dashboards/pages/{system}.py, named in dashboards.build.PAGES")
    if not (ROOT / f"alert_rules/rules/{system}.yml.j2").exists():
        missing.append(f"alert_rules/rules/{system}.yml.j2 with its alerts")
    if not (ROOT / f"tests/rules/{system}.yml").exists():
        missing.append(f"tests/rules/{system}.yml with their cases")
    assert not missing
