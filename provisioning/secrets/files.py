"""Secret files: read, and overwritten in place, because a container keeps the file that it was given at its start."""

from __future__ import annotations

import os
from pathlib import Path

from provisioning.config.secrets import SecretFile
from provisioning.render.first_secrets import create_secret

MODE = 0o600


def read(path: Path) -> str:
    """The one line in it. Raises SecretError."""
    return SecretFile(path).read()


def put(path: Path, value: str) -> None:
    """Makes the file hold `value`: one write that programs which have it open see, then on disk. Raises OSError.

    Another file under the same name would not reach a container that was given the old one.
    """
    if create_secret(path, value):
        return
    with path.open("r+b", buffering=0) as file:
        os.fchmod(file.fileno(), MODE)
        data = value.encode("ascii")
        os.pwrite(file.fileno(), data, 0)
        file.truncate(len(data))
        os.fsync(file.fileno())
