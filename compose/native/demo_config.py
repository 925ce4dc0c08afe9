"""The demo's `cluster-ai.yml`: the embedded Dask cluster, and Ollama and Open WebUI where they usually are."""

from __future__ import annotations

from pathlib import Path

import httpx
import yaml

from compose.native.places import State
from compose.native.ports import Address

OLLAMA = "http://127.0.0.1:11434"
# Open WebUI's container is usually published on 3000; started from its Python package it listens on 8080.
OPENWEBUI = ("http://127.0.0.1:3000", "http://127.0.0.1:8080")
OPTIONAL = frozenset({"local", "local-chat"})
"""Targets that are looked for and need not be there."""

_HEADER = """\
# The demo's configuration, written anew by each `cluster-ai up` that finds no cluster-ai.yml.
# To watch your own systems, write a cluster-ai.yml in the folder where you run it, and check it
# with `cluster-ai check`. This file shows how one looks.
"""


def write(state: State, scheduler: Address, dashboard: Address) -> Path:
    """Writes the file and returns its path."""
    data = {
        "name": "demo",
        "targets": {
            "dask": [{"name": "demo", "scheduler": f"tcp://{scheduler}", "dashboard": dashboard.url}],
            "ollama": [{"name": "local", "url": OLLAMA}],
            "openwebui": [{"name": "local-chat", "url": _openwebui()}],
        },
    }
    path = state.demo / "cluster-ai.yml"
    path.write_text(_HEADER + yaml.safe_dump(data, sort_keys=False))
    return path


def _openwebui() -> str:
    return next((url for url in OPENWEBUI if _is_openwebui(url)), OPENWEBUI[0])


def _is_openwebui(url: str) -> bool:
    """Whether an Open WebUI answers there: its /api/config names it, also to somebody who is not signed in."""
    try:
        answer = httpx.get(f"{url}/api/config", timeout=1.0, trust_env=False)
        data = answer.json()
    except (httpx.HTTPError, ValueError):
        return False
    return isinstance(data, dict) and "version" in data and "features" in data
