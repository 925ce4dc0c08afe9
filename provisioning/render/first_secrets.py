"""Makes the secrets that an installation needs before its first start: random, and readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from provisioning.grafana.passwords import new_password, weakness
from provisioning.render.files import RenderError
from provisioning.render.places import Places


def make_secrets(places: Places) -> list[Path]:
    """Creates the secret files that are missing, in a folder of mode 0700, and returns those it made.

    An existing file is never changed. Raises RenderError when the folder cannot be written, and when the
    administrator's password there is one that Grafana's policy would not let anybody choose, such as admin.
    """
    wanted = {
        places.grafana_admin_password: new_password(),
        places.grafana_secret_key: secrets.token_urlsafe(48),
        places.sms_bridge_token: secrets.token_urlsafe(48),
    }
    try:
        places.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [path for path, value in wanted.items() if create_secret(path, value)]
        weak = weakness(places.grafana_admin_password.read_text().strip(), "admin")
    except OSError as error:
        raise RenderError(f"cannot make secrets in {places.secrets}: {error.strerror}") from None
    if weak is not None:
        raise RenderError(
            f"the password in {places.grafana_admin_password} is not used: {weak}; write another, or remove the file "
            "and one is made"
        )
    return made


def make_password(path: Path) -> None:
    """Creates a file with a random password where there is none. Raises RenderError when it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_secret(path, new_password())
    except OSError as error:
        raise RenderError(f"cannot make {path}: {error.strerror}") from None


def create_secret(path: Path, value: str) -> bool:
    """Puts a whole file of mode 0600 in place, or leaves the one that is there; says whether it made one.

    A half-written secret would be kept for ever. Raises OSError.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
            return True
        return False
    finally:
        Path(temporary).unlink()
