"""Programs that tests ask for a second opinion: found, or the test says why it was skipped."""

from __future__ import annotations

import pytest

from compose.native.binaries import find
from compose.native.places import default_cache_dir


def tool(name: str) -> str:
    """The path of promtool, amtool and their like, from PATH or as `make tools` fetched it; skips the test without."""
    found = find(name, default_cache_dir())
    if found is None:
        pytest.skip(f"{name} is not on PATH and not fetched yet (`make tools` fetches it)")
    return str(found)
