"""The demo's `cluster-ai.yml`: the embedded Dask cluster, and an Ollama and an Open WebUI where one answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import yaml

from compose.native.people import demo_people
from compose.native.places import State
from compose.native.ports import Address

OLLAMA = "http://127.0.0.1:11434"
# Open WebUI's container is usually published on 3000; started from its Python package it listens on 8080.
OPENWEBUI = ("http://127.0.0.1:3000", "http://127.0.0.1:8080")
OPTIONAL = frozenset({"local", "local-chat"})
"""Targets that were found here and need not stay."""

_HEADER = """\
# The demo's configuration, written anew by each `cluster-ai up` that finds no cluster-ai.yml.
# To watch your own systems, write a cluster-ai.yml in the folder where you run it, and check it
# with `cluster-ai check`. This file shows how one looks.
"""


def write(state: State, scheduler: Address, dashboard: Address) -> Path:
    """Writes the file and the passwords of its people, and returns its path.

    What nobody runs is left out: the pages then say `not configured`.
    Raises RenderError when the passwords cannot be written.
    """
    targets = {"dask": [{"name": "demo", "scheduler": f"tcp://{scheduler}", "dashboard": dashboard.url}]}
    if _is_ollama(OLLAMA):
        targets["ollama"] = [{"name": "local", "url": OLLAMA}]
    openwebui = next(filter(_is_openwebui, OPENWEBUI), None)
    if openwebui is not None:
        targets["openwebui"] = [{"name": "local-chat", "url": openwebui}]
    data = {"name": "demo", "targets": targets, "people": demo_people(state.secrets)}
    path = state.demo / "cluster-ai.yml"
    path.write_text(_HEADER + yaml.safe_dump(data, sort_keys=False))
    return path


def _is_ollama(url: str) -> bool:
    """Whether an Ollama answers there."""
    data = _json(f"{url}/api/version")
    return isinstance(data, dict) and "version" in data


def _is_openwebui(url: str) -> bool:
    """Whether an Open WebUI answers there: its /api/config names it, also to somebody who is not signed in."""
    data = _json(f"{url}/api/config")
    return isinstance(data, dict) and "version" in data and "features" in data


def _json(url: str) -> Any:
    """What answers, or None."""
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None
