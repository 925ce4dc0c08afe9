"""The programs the stack is made of: their names, the versions we need, where to get them."""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """An official release: an archive and the published checksums that it must match."""

    name: str
    version: str
    archive: str  # both with {base}, {name}, {version}, {os}, {arch}
    checksums: str
    variable: str  # of the environment; replaces the base address, for mirrors
    base: str
    megabytes: int

    def url(self, template: str, base: str) -> str:
        """A template filled in for this machine."""
        system, arch = this_machine()
        return template.format(base=base, name=self.name, version=self.version, os=system, arch=arch)


def _prometheus_release(name: str, version: str, megabytes: int) -> Release:
    return Release(
        name=name,
        version=version,
        archive="{base}/{name}/releases/download/v{version}/{name}-{version}.{os}-{arch}.tar.gz",
        checksums="{base}/{name}/releases/download/v{version}/sha256sums.txt",
        variable="CLUSTER_AI_PROMETHEUS_RELEASES",
        base="https://github.com/prometheus",
        megabytes=megabytes,
    )


PROMETHEUS = _prometheus_release("prometheus", "3.13.3", 130)
ALERTMANAGER = _prometheus_release("alertmanager", "0.34.0", 35)
NODE_EXPORTER = _prometheus_release("node_exporter", "1.11.1", 13)
GRAFANA = Release(
    name="grafana",
    version="12.4.6",
    archive="{base}/oss/release/{name}-{version}.{os}-{arch}.tar.gz",
    checksums="{base}/oss/release/{name}-{version}.{os}-{arch}.tar.gz.sha256",
    variable="CLUSTER_AI_GRAFANA_RELEASES",
    base="https://dl.grafana.com",
    megabytes=200,
)


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package that is unpacked, never installed: installing it would start its daemon on every address."""

    name: str
    programs: dict[str, str]
    """Name in the package's /usr/bin of each tool in it."""
    arguments: str = ""
    """Flags that every start of the daemon needs, because the package is not where it was built to be; `{root}`."""
    needs: tuple[str, ...] = ()
    """Prefixes of the dependencies to unpack beside it."""


DEBIAN = {
    "prometheus": Package(
        "prometheus",
        {"prometheus": "prometheus", "promtool": "promtool"},
        # The pages of its own interface link to JavaScript libraries that are packages of their own.
        "--web.local-assets={root}/usr/share/prometheus/web",
        ("libjs-", "fonts-"),
    ),
    "alertmanager": Package(
        "prometheus-alertmanager",
        {"alertmanager": "prometheus-alertmanager", "amtool": "amtool"},
        "--web.ui-path={root}/usr/share/prometheus/alertmanager/no-ui",
    ),
    "node_exporter": Package("prometheus-node-exporter", {"node_exporter": "prometheus-node-exporter"}),
}


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: names it goes by on PATH, the oldest version we work with, and what brings it."""

    name: str
    names: tuple[str, ...]
    oldest: tuple[int, int]
    release: Release
    package: Package


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("prometheus", ("prometheus",), (2, 42), PROMETHEUS, DEBIAN["prometheus"]),
        Tool("promtool", ("promtool",), (2, 42), PROMETHEUS, DEBIAN["prometheus"]),
        Tool(
            "alertmanager", ("alertmanager", "prometheus-alertmanager"), (0, 25), ALERTMANAGER, DEBIAN["alertmanager"]
        ),
        Tool("amtool", ("amtool",), (0, 25), ALERTMANAGER, DEBIAN["alertmanager"]),
        Tool(
            "node_exporter",
            ("node_exporter", "prometheus-node-exporter"),
            (1, 5),
            NODE_EXPORTER,
            DEBIAN["node_exporter"],
        ),
    )
}


def this_machine() -> tuple[str, str]:
    """Operating system and processor as Go names them: ("linux", "amd64")."""
    machine = platform.machine().lower()
    return platform.system().lower(), {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
