"""Which files each container is given: `compose.yml`, laid over the committed compose files, and `compose.env`.

A container sees its own rendered files, the secrets that those name, and nothing else of the installation; all at the
path that they have on the host, and read-only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.config.audience import needs_bridge
from provisioning.config.durations import format_duration
from provisioning.config.model import Config
from provisioning.render.files import RenderError, header, yaml_text
from provisioning.render.named_files import in_web_config, named_files
from provisioning.render.places import Places

OVERLAY = "compose.yml"
VARIABLES = "compose.env"
CONFIGURATION = "cluster-ai.yml"
UNSAVED = frozenset({"backup-operator-key", "certificate-authority-key"})
"""Secrets that no backup has, and that its container does not see."""
_PASSING = {".next", ".previous"}
_PATH = re.compile(r"[A-Za-z0-9/._@+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What one service reads. What its rendered files name is found in them."""

    rendered: tuple[str, ...] = ()
    """Files and folders of what is rendered; a container is made anew when one changes."""
    followed: tuple[str, ...] = ()
    """Folders that the service itself follows."""
    secrets: tuple[str, ...] = ()
    """Secrets that it is told of in another way than by a rendered file."""
    sections: tuple[str, ...] = ()
    """Parts of cluster-ai.yml, which it reads itself, whose files it opens."""
    every_secret: bool = False
    """Whether it is what saves them."""


GRAFANA = Reads(rendered=("grafana/grafana.ini", "grafana/provisioning"), followed=("grafana/pages",))
COMMON = {
    "exporter": Reads(sections=("targets", "exporter")),
    "prometheus": Reads(rendered=("prometheus.yml", "rules")),
    "alertmanager": Reads(rendered=("alertmanager.yml", "alertmanager")),
    "sms-bridge": Reads(sections=("notifications",), secrets=("sms-bridge-token",)),
    "ollama-proxy": Reads(sections=("targets",)),
    "node-exporter": Reads(),
}
PRODUCTION = {
    "nginx": Reads(followed=("nginx",)),
    "postgres": Reads(rendered=("postgres",), secrets=("postgres-password",)),
    "redis": Reads(rendered=("redis",)),
    "postgres-exporter": Reads(secrets=("postgres-exporter-password",)),
    "redis-exporter": Reads(secrets=("redis-exporter-passwords",)),
    "sms-bridge": Reads(sections=("notifications",), secrets=("sms-bridge-token", "redis-bridge-url")),
    "nginx-exporter": Reads(),
    "certbot": Reads(rendered=("certbot",)),
    "gpu-exporter": Reads(),
    "loki": Reads(rendered=("loki.yml",)),
    "alloy": Reads(rendered=("alloy",)),
    "nginx-log-exporter": Reads(rendered=("mtail",)),
    "blackbox": Reads(rendered=("blackbox.yml",)),
    "backup": Reads(sections=tuple(Config.model_fields), every_secret=True),
}

OPTIONAL = {
    "sms-bridge": "sms",
    "ollama-proxy": "proxy",
    "certbot": "acme",
    "gpu-exporter": "gpu",
    "loki": "logs",
    "alloy": "logs",
}
"""Services that run when their profile is asked for."""
_KEEPS_LOGS = {"loki", "alloy"}
"""Their own would come back to them."""


def files(config: Config, places: Places, out: Path, rendered: Mapping[Path, str], source: str) -> dict[Path, str]:
    """The two files; none where the stack does not run in containers.

    `rendered` are all the other files. Raises RenderError when the installation's path would not come back out of
    them as it is.
    """
    folder = places.installation
    if folder is None:
        return {}
    for path in (folder, out):
        if not _PATH.fullmatch(str(path)):
            raise RenderError(f"{path} cannot hold an installation: use letters, digits and the signs / . _ @ + -")
    given = _Given(config, places.secrets, folder, out, rendered)
    services = {name: given.to(reads) for name, reads in sorted(_services(config).items())}
    if config.production is not None and config.production.backup.off_site is not None:
        services["backup"]["networks"] = ["out"]  # besides its own, or nothing could be carried anywhere
    for name in _outward(config):
        services[name]["networks"] = ["out"]
    if places.production is not None and config.production is not None and config.production.logs:
        for name in services.keys() - _KEEPS_LOGS:
            services[name]["logging"] = _to_alloy(name, places.production.alloy_socket)
    return {
        out / OVERLAY: yaml_text({"services": services}, source),
        out / VARIABLES: header(source) + "".join(f"{key}={value}\n" for key, value in _variables(config, folder)),
    }


def profiles(config: Config) -> list[str]:
    """The optional services that this configuration asks for."""
    wanted = {"sms": needs_bridge(config), "proxy": any(target.proxy for target in config.targets.ollama)}
    if config.production is not None:
        wanted["acme"] = config.production.certificate.acme is not None
        wanted["gpu"] = config.production.gpu
        wanted["logs"] = config.production.logs
        wanted |= {f"grafana-{number}": True for number in range(2, config.production.grafanas + 1)}
    return [name for name, there in wanted.items() if there]


def _services(config: Config) -> dict[str, Reads]:
    """Those that run: what is optional and not wanted is given no files."""
    grafanas = 1 if config.production is None else config.production.grafanas
    every = COMMON | {f"grafana-{number}": GRAFANA for number in range(1, grafanas + 1)}
    if config.production is not None:
        every |= PRODUCTION
    wanted = profiles(config)
    return {name: reads for name, reads in every.items() if name not in OPTIONAL or OPTIONAL[name] in wanted}


def _variables(config: Config, folder: Path) -> Iterator[tuple[str, str]]:
    owner = folder.stat()
    yield "CLUSTER_AI_DIR", str(folder)
    yield "CLUSTER_AI_UID", str(owner.st_uid)
    yield "CLUSTER_AI_GID", str(owner.st_gid)
    yield "CLUSTER_AI_RETENTION_TIME", format_duration(config.retention.time)
    yield "CLUSTER_AI_RETENTION_SIZE", config.retention.size
    if config.production is not None:
        yield "CLUSTER_AI_HTTP", config.production.http
        yield "CLUSTER_AI_HTTPS", config.production.https
    yield "COMPOSE_PROFILES", ",".join(profiles(config))


class _Given:
    """Finds what each service is given."""

    def __init__(self, config: Config, secrets: Path, folder: Path, out: Path, rendered: Mapping[Path, str]) -> None:
        self._config = config
        self._folder = folder
        self._secrets = secrets
        self._out = out
        self._rendered = rendered
        self._named = {path: re.compile(rf"{re.escape(str(path))}(?![A-Za-z0-9._/-])") for path in named_files(config)}
        self._secret = re.compile(rf"{re.escape(str(secrets))}/[A-Za-z0-9._-]+")

    def to(self, reads: Reads) -> dict[str, Any]:
        """The part of the overlay that is one service's."""
        own = [self._out / name for name in reads.rendered]
        texts = {path: text for path, text in self._rendered.items() if any(path.is_relative_to(one) for one in own)}
        others = {path for text in texts.values() for path in self._mentioned(text)}
        others |= {self._secrets / name for name in reads.secrets}
        if reads.sections:
            others |= {path for section in reads.sections for path in self._files_of(section)}
            others.add(self._folder / CONFIGURATION)
        saved = self._saved() if reads.every_secret else []
        # One that is replaced is overwritten where it is, and the container sees that; another file it does not see.
        texts |= {path: str(path.stat().st_ino) for path in saved}
        there = sorted(path for path in others.difference(saved) if path.is_file())
        mounted = [*own, *(self._out / name for name in reads.followed), *saved, *there]
        return {
            "volumes": [_mount(path) for path in mounted],
            "labels": {"cluster-ai.files": _fingerprint(texts, there)},
        }

    def _saved(self) -> list[Path]:
        """Every secret that a backup has, without what comes and goes as one is replaced."""
        there = sorted(self._secrets.iterdir()) if self._secrets.exists() else []
        return [path for path in there if path.is_file() and path.name not in UNSAVED and path.suffix not in _PASSING]

    def _mentioned(self, text: str) -> Iterator[Path]:
        """Secrets, and files of cluster-ai.yml, whose path stands in a rendered file."""
        yield from map(Path, self._secret.findall(text))
        yield from (path for path, pattern in self._named.items() if pattern.search(text))

    def _files_of(self, section: str) -> Iterator[Path]:
        for path in named_files(getattr(self._config, section)):
            yield path
            if path == self._config.exporter.web_config_file:
                yield from in_web_config(path)


def _outward(config: Config) -> set[str]:
    """Services that have a way out because this configuration sends them there."""
    grafana, production = config.grafana, config.production
    signs_in = grafana.oidc is not None or (grafana.jwt is not None and grafana.jwt.keys_url is not None)
    found = {name for name in _services(config) if signs_in and name.startswith("grafana-")}
    return found | ({"backup"} if production is not None and production.backup.off_site is not None else set())


def _to_alloy(name: str, socket: Path) -> dict[str, Any]:
    """Docker waits for nobody here, and keeps a copy of its own for `docker compose logs`."""
    options = {
        "fluentd-address": f"unix://{socket}",
        "fluentd-async": "true",
        "fluentd-sub-second-precision": "true",
        "fluentd-buffer-limit": "8192",
        "tag": name,
    }
    return {"driver": "fluentd", "options": options}


def _mount(path: Path) -> dict[str, Any]:
    # Docker would make a folder of root's in place of what is missing.
    same = str(path)
    return {"type": "bind", "source": same, "target": same, "read_only": True, "bind": {"create_host_path": False}}


def _fingerprint(texts: Mapping[Path, str], others: Iterable[Path]) -> str:
    """Changes when a service must be started again to see its files; of a secret it tells nothing but its age."""
    digest = hashlib.sha256()
    for path, text in sorted(texts.items()):
        digest.update(f"{path}\0{text}\0".encode())
    for path in others:
        found = path.stat()
        seen = path.read_text() if path.name == CONFIGURATION else f"{found.st_ino}\0{found.st_mtime_ns}"
        digest.update(f"{path}\0{seen}\0".encode())
    return digest.hexdigest()[:16]
