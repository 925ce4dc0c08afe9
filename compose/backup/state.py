"""What became of backups and tests, kept beside them and told to Prometheus by node_exporter."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from compose.backup.making import FOLDER
from compose.backup.manifest import BackupError
from provisioning.secrets.installation import Installation

_FILE = "state.json"
_METRICS = "cluster-ai-backup.prom"
_MEANINGS = {
    "cluster_ai_backup_last_success_timestamp_seconds": "When a backup last ended well, or else was first tried.",
    "cluster_ai_backup_size_bytes": "Size of that backup.",
    "cluster_ai_backup_verified_timestamp_seconds": "When a backup was last restored as a test, with whatever result.",
    "cluster_ai_backup_verification_success": "1 when that backup held what was saved.",
}


class State(BaseModel):
    """Times are seconds since the epoch, 0 for never."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    succeeded: float = 0.0
    began: float = 0.0
    """When the first was tried; nothing once one has ended well."""
    size: int = 0
    verified: float = 0.0
    well: bool = False
    """Whether the backup that was tested last held what was saved."""
    proven: str | None = None
    """The last one that did."""

    def tried(self, now: datetime) -> State:
        """As it is once something was tried: without any that ended well, the first attempt counts."""
        return self if self.succeeded or self.began else self.model_copy(update={"began": now.timestamp()})


def load(there: Installation) -> State:
    """What was last said; nothing when there is no such file, or a damaged one."""
    with suppress(OSError, ValidationError):
        return State.model_validate_json((there.folder / FOLDER / _FILE).read_bytes())
    return State()


def save(there: Installation, state: State) -> None:
    """Keeps it, and tells it. Raises BackupError."""
    values: dict[str, float] = {
        "cluster_ai_backup_last_success_timestamp_seconds": state.succeeded or state.began,
        "cluster_ai_backup_size_bytes": state.size,
    }
    if state.verified:
        values["cluster_ai_backup_verified_timestamp_seconds"] = state.verified
        values["cluster_ai_backup_verification_success"] = int(state.well)
    text = "".join(
        f'# HELP {name} {_MEANINGS[name]}\n# TYPE {name} gauge\n{name}{{name="grafana"}} {value}\n'
        for name, value in values.items()
    )
    try:
        _write(there.folder / FOLDER / _FILE, state.model_dump_json(exclude_defaults=True), 0o600)
        folder = there.folder / "data/textfile"
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / _METRICS, text, 0o644)
    except OSError as error:
        raise BackupError(f"what became of it cannot be told: {error.filename}: {error.strerror}") from None


def _write(path: Path, text: str, mode: int) -> None:
    """At one go: node_exporter may read at any time."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
