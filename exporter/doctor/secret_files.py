"""The files of a target: are they there, do they hold one secret, and who else can read them."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from exporter.doctor.exam import Visit, is_loopback
from exporter.doctor.findings import Finding, error, warning
from provisioning.config.basics import SECRET_FILES
from provisioning.config.secrets import SecretError, SecretFile

FILE_MISSING = error(
    "file-missing",
    "A file that the target needs is not there, or cannot be read by the user who runs this command.",
    "make the file, correct its path, or let the user who runs cluster-ai read it",
)
SECRET_UNUSABLE = error(
    "secret-unusable",
    "A secret's file does not hold one line of text: it is empty, binary, or has more lines.",
    "write the secret alone into the file, on one line",
)
SECRET_EXPOSED = warning(
    "secret-exposed", "Everyone on this machine can read the secret.", "run: chmod 600 FILE (as its owner)"
)
SECRET_IN_CLEAR = warning(
    "secret-in-clear",
    "Credentials go to another machine over http://: whoever sits between reads them.",
    "use https://, or a network that only these machines share",
)

_ONE_LINE = SECRET_FILES - {"key_file"}


async def check(visit: Visit) -> list[Finding]:
    """Findings about the files that the target's configuration names."""
    return [*_files(visit), *_in_clear(visit)]


def _files(visit: Visit) -> Iterator[Finding]:
    for key, path in visit.target:
        if isinstance(path, Path):
            yield from _one(key, path)


def _one(key: str, path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            file.read(1)
    except OSError as failure:
        yield FILE_MISSING.found(f"{key} {path}: {failure.strerror}")
        return
    if key in _ONE_LINE:
        try:
            SecretFile(path).read()
        except SecretError as failure:
            yield SECRET_UNUSABLE.found(f"{key}: {failure}")
    if key in SECRET_FILES and mode & stat.S_IROTH:
        yield SECRET_EXPOSED.found(
            f"{key} {path} can be read by everyone here", f"run: chmod 600 {shlex.quote(str(path))}"
        )


def _in_clear(visit: Visit) -> Iterator[Finding]:
    secrets = [
        key for key in ("password_file", "bearer_token_file", "api_key_file") if getattr(visit.target, key, None)
    ]
    address = urlsplit(visit.address)
    if secrets and address.scheme == "http" and not is_loopback(address.hostname or ""):
        yield SECRET_IN_CLEAR.found(f"{' and '.join(secrets)} is sent to {visit.address} without TLS")
