"""Programs that tests ask for a second opinion: found, or the test says why it was skipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tool(name: str) -> str:
    """The path of a program from PATH or from what `make run` fetched; skips the test without it."""
    places = [str(folder) for folder in (ROOT / ".cache").glob("**/bin")]
    found = shutil.which(name) or shutil.which(name, path=":".join(places))
    if found is None:
        pytest.skip(f"{name} is not on PATH and not fetched yet (`make run` fetches it)")
    return found
