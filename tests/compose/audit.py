"""What is unsafe in compose files that were put together."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compose.images import IMAGES

_EXACT = re.compile(r"[a-z0-9./_-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?(@sha256:[0-9a-f]{64})?")
_OWNER = re.compile(r"[1-9][0-9]*:[1-9][0-9]*")
_SECRET = re.compile(r"PASS(WORD)?|SECRET|TOKEN|KEY|CREDENTIAL")
DOOR = "nginx"
CLUSTERS = {"exporter", "prometheus", "ollama-proxy"}
EVERY_SECRET = {"admin"}  # what replaces them
BY_HAND = {"admin"}  # runs one command and ends
_CLOSED = {"watch", "front", "data"}


def problems(stack: dict[str, Any], folder: Path) -> list[str]:
    """One line for each; none when all is well. `folder` is the installation."""
    found = [
        f"{name}: {what}" for name, service in stack["services"].items() for what in _service(name, service, folder)
    ]
    found += [f"network {name} is open" for name in _CLOSED if not (stack["networks"].get(name) or {}).get("internal")]
    return sorted(found)


def _service(name: str, service: dict[str, Any], folder: Path) -> Iterator[str]:
    yield from _image(service)
    yield from _rights(service)
    yield from _limits(name, service)
    if service.get("ports") and name != DOOR:
        yield "publishes a port"
    if "targets" in service.get("networks", []) and name not in CLUSTERS:
        yield "is in the clusters' network"
    for volume in service.get("volumes", []):
        yield from _volume(name, volume, folder)
    for variable in service.get("environment", {}):
        if _SECRET.search(variable) and not variable.endswith("_FILE"):
            yield f"{variable} would show a secret"


def _image(service: dict[str, Any]) -> Iterator[str]:
    image = service.get("image", "")
    if not _EXACT.fullmatch(image):
        yield f"image {image!r} is not pinned"
    elif image not in IMAGES.values():
        yield f"image {image!r} is not one of compose/images.py"


def _rights(service: dict[str, Any]) -> Iterator[str]:
    if not _OWNER.fullmatch(str(service.get("user", ""))):
        yield "runs as root"
    if service.get("read_only") is not True:
        yield "has a writable root"
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield "keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "may gain privileges"
    if service.get("privileged"):
        yield "is privileged"
    for space in ("network_mode", "pid", "ipc", "userns_mode"):
        if service.get(space):
            yield f"shares {space}"


def _limits(name: str, service: dict[str, Any]) -> Iterator[str]:
    for limit in ("mem_limit", "cpus", "pids_limit"):
        if not service.get(limit):
            yield f"has no {limit}"
    logging = service.get("logging", {})
    ends = {"max-size", "max-file"} <= logging.get("options", {}).keys()
    if not ends and logging.get("driver") != "fluentd":  # to Loki, which forgets; the engine's own copy has an end
        yield "has logs without end"
    if name in BY_HAND:
        return
    if not service.get("healthcheck", {}).get("test") or service["healthcheck"].get("disable"):
        yield "has no health check"
    if service.get("restart") != "unless-stopped":
        yield "stays down"


def _volume(name: str, volume: dict[str, Any], folder: Path) -> Iterator[str]:
    source, kept = Path(volume["source"]), volume.get("read_only") is True
    if source.name == "docker.sock":
        yield "holds the engine's socket"
    own = source.is_relative_to(folder / "data") or source.is_relative_to(folder / "backups") or name in BY_HAND
    if not kept and not own:
        yield f"may write {source}"
    secrets = folder / "secrets"
    if source == secrets or secrets.is_relative_to(source):
        if name not in EVERY_SECRET and name != "node-exporter":  # which runs as nobody
            yield "is given every secret"
    elif source.is_relative_to(secrets):
        yield from _secret(source)


def _secret(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"secret {path.name} is missing"
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield f"secret {path.name} is open to others"
    elif path.read_text().strip() in ("", "admin", "changeme", "password", "postgres", "secret"):
        yield f"secret {path.name} is a default"
