"""A production installation in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from provisioning.secrets.installation import Installation, installation
from provisioning.secrets.making import init

OPERATORS = "age1f56hd5cqvhntqhzta7w4n9vazlcnkeug4skauuvnec099zewkets3s32qm"


def write(folder: Path, *lines: str, domain: str = "monitoring.example.org") -> Path:
    """A `cluster-ai.yml`; `lines` go under `production`."""
    file = folder / "cluster-ai.yml"
    text = "targets: {dask: [{name: main, scheduler: 'tcp://10.0.0.5:8786'}]}\nproduction:\n"
    file.write_text(text + "".join(f"  {line}\n" for line in (f"domain: {domain}", *lines)))
    return file


def installed(folder: Path, *lines: str, postgres: str | None = None, redis: str | None = None) -> Installation:
    """One with its secrets."""
    there = installation(write(folder, *lines), postgres=postgres, redis=redis)
    init(there)
    return there


def secret(there: Installation, name: str) -> str:
    return (there.secrets / name).read_text()
