"""Where the native stack keeps things: one state folder, one cache folder."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

STATE_VARIABLE = "CLUSTER_AI_STATE_DIR"
CACHE_VARIABLE = "CLUSTER_AI_CACHE_DIR"


def default_state_dir() -> Path:
    """`$CLUSTER_AI_STATE_DIR`, else `$XDG_STATE_HOME/cluster-ai`, else `~/.local/state/cluster-ai`."""
    return _folder(STATE_VARIABLE, "XDG_STATE_HOME", ".local/state")


def default_cache_dir() -> Path:
    """`$CLUSTER_AI_CACHE_DIR`, else `$XDG_CACHE_HOME/cluster-ai`, else `~/.cache/cluster-ai`."""
    return _folder(CACHE_VARIABLE, "XDG_CACHE_HOME", ".cache")


def _folder(own: str, xdg: str, fallback: str) -> Path:
    if named := os.environ.get(own):
        return Path(named).absolute()
    base = os.environ.get(xdg, "")
    # The XDG specification: a relative path there is to be ignored.
    parent = Path(base) if base.startswith("/") else Path.home() / fallback
    return parent / "cluster-ai"


def shown(path: Path) -> str:
    """The path as people write it, with `~` for their home."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


@dataclass(frozen=True, slots=True)
class State:
    """The state folder: everything the stack writes, so that removing it forgets everything."""

    root: Path

    @property
    def logs(self) -> Path:
        """`NAME.log` of each service, with one older piece beside it as `NAME.log.1`."""
        return self.root / "logs"

    @property
    def rendered(self) -> Path:
        """The configuration files that were made from `cluster-ai.yml`."""
        return self.root / "config"

    @property
    def secrets(self) -> Path:
        """Generated once and kept, each readable by its owner alone."""
        return self.root / "secrets"

    @property
    def demo(self) -> Path:
        """Configuration and scratch space of the embedded Dask cluster."""
        return self.root / "demo"

    @property
    def textfile(self) -> Path:
        """Files in it named `*.prom` become metrics of this machine, through node_exporter."""
        return self.root / "textfile"

    @property
    def lock(self) -> Path:
        """Held by the running supervisor; holds its process id."""
        return self.root / "run/lock"

    @property
    def status(self) -> Path:
        """What the supervisor last said of its services."""
        return self.root / "run/status.json"

    def create(self) -> None:
        """Makes the folders, for the owner alone: Grafana's database and the secrets are in them.

        Raises PermissionError for a folder of somebody else, who could read them all the same and may have put
        passwords there that they know.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if self.root.stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to somebody else", str(self.root))
        self.root.chmod(0o700)
        for folder in (self.logs, self.rendered, self.demo, self.textfile, self.lock.parent):
            folder.mkdir(exist_ok=True)
