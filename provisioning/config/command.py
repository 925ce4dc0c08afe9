"""How people call this program from where they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NAME = "cluster-ai"


def command() -> str:
    """`cluster-ai` where that is on PATH, else its path: what `make` installs is in `.venv/bin`, which is not."""
    own = Path(sys.executable).parent / NAME
    if shutil.which(NAME) or not own.exists():
        return NAME
    here = Path.cwd()
    return str(own.relative_to(here) if own.is_relative_to(here) else own)
