"""Makes the secrets that an installation needs before its first start: random, and readable by their owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from provisioning.render.places import Places


def make_secrets(places: Places) -> list[Path]:
    """Creates the secret files that are missing, in a folder of mode 0700, and returns those it made.

    An existing file is never changed. Raises OSError when the folder cannot be written.
    """
    places.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = {places.grafana_admin_password: _password(), places.grafana_secret_key: secrets.token_urlsafe(48)}
    return [path for path, value in wanted.items() if _create(path, value)]


def _password() -> str:
    """Random, and with one of each kind of character that Grafana's password policy asks for."""
    return f"{secrets.token_urlsafe(18)}-Aa1"


def _create(path: Path, value: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(value)
    return True
