"""Brings an installation back from a backup, on a machine that has nothing but the backup, its key and our code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from compose.deploy import engine
from compose.deploy.preparing import PrepareError, host, prepare

Say = Callable[[str], None]


def restore(config: Path, backup: Path, identity: Path | None, say: Say, *, overwrite: bool) -> None:
    """Files and secrets, then PostgreSQL alone, then its contents; the caller starts the rest.

    `identity` is the key that opens the backup, that of this host unless it is given. Raises PrepareError, EngineError
    and ConfigError.
    """
    config, backup = config.absolute(), backup.absolute()
    folder = config.parent
    given = [backup, *([identity.absolute()] if identity is not None else [])]
    for path in given:
        if not path.is_file():
            raise PrepareError(f"there is no {path}")
    asked = ["backup", "restore", str(backup), "--config", str(config)]
    asked += ["--identity", str(given[-1])] if identity is not None else []
    asked += ["--overwrite"] if overwrite else []
    _once(_bare(folder), given, [*asked, "--only", "files"], _variables(folder))
    there = host(config)
    for line in prepare(there):
        say(line)
    if engine.run([*there.compose, "up", "--detach", "--wait", "postgres"]):
        raise PrepareError("PostgreSQL does not come up; `deploy compose logs postgres` says why")
    _once(there.compose, given, [*asked, "--only", "database"], {})


def _bare(folder: Path) -> list[str]:
    """Compose without what is rendered, which comes out of the backup."""
    return engine.command(folder, production=True, rendered=False)


def _variables(folder: Path) -> dict[str, str]:
    """What the compose files ask for, as far as the container needs it that restores files."""
    owner = folder.stat()
    return {
        "CLUSTER_AI_DIR": str(folder),
        "CLUSTER_AI_UID": str(owner.st_uid),
        "CLUSTER_AI_GID": str(owner.st_gid),
        "CLUSTER_AI_HTTP": "127.0.0.1:80",
        "CLUSTER_AI_HTTPS": "127.0.0.1:443",
    }


def _once(start: Sequence[str], given: Sequence[Path], asked: Sequence[str], more: dict[str, str]) -> None:
    volumes = [part for path in given for part in ("--volume", f"{path}:{path}:ro")]
    command = [*start, "run", "--rm", "--no-deps", "--no-TTY", *volumes, "admin", *asked]
    if engine.run(command, {**os.environ, **more}):
        raise PrepareError(f"nothing more is done: `{' '.join(asked[:2])}` did not end well")
