"""What watches the parts of a production stack: Debian's exporters and mtail, unpacked as `make tools` does.

`python -m tests.standins.exporters` unpacks them, where there is apt; nothing is installed or started.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from compose.native import debian
from compose.native.fetching import FetchError
from compose.native.places import default_cache_dir
from compose.native.tools import Package
from tests.compose.running import until

NAMES = ("prometheus-postgres-exporter", "prometheus-redis-exporter", "prometheus-nginx-exporter")
NAMES += ("prometheus-blackbox-exporter", "mtail")


@dataclass(frozen=True, slots=True)
class Exporter:
    """One that runs."""

    port: int

    def page(self, path: str = "/metrics", **asked: str) -> str:
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", params=asked, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.text

    def value(self, series: str, path: str = "/metrics", **asked: str) -> float | None:
        """Of the series that begins so, None when there is none."""
        found = re.search(rf"^{re.escape(series)}\S* (\S+)$", self.page(path, **asked), re.MULTILINE)
        return float(found[1]) if found else None


@contextmanager
def running(
    name: str, port: int, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> Iterator[Exporter]:
    """The program with these arguments, once it answers; or the test is skipped with the reason."""
    process = subprocess.Popen(
        [needed(name), *arguments], stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    exporter = Exporter(port)

    def answers() -> bool:
        assert process.poll() is None, f"{name} has ended"
        with contextlib.suppress(httpx.TransportError):
            return bool(exporter.page())
        return False

    try:
        until(answers, f"{name} to answer")
        yield exporter
    finally:
        process.kill()
        process.wait()


def needed(name: str) -> Path:
    """The program, or the test is skipped with the reason."""
    program = _find(name)
    if program is None:
        pytest.skip(f"{name} is not on PATH and not unpacked yet (`make tools` unpacks it)")
    return program


def _find(name: str) -> Path | None:
    unpacked = default_cache_dir() / "debian" / name / "usr/bin" / name
    on_path = shutil.which(name)
    return Path(on_path) if on_path else unpacked if unpacked.exists() else None


def main() -> None:
    """Unpacks what is missing; a machine without it skips some tests."""
    missing = [Package(name, {}) for name in NAMES if _find(name) is None]
    if not missing or not debian.available():
        return
    try:
        debian.fetch(missing, default_cache_dir(), print)
    except FetchError as error:
        sys.stdout.write(f"the exporters could not be had, their tests are skipped: {error}\n")


if __name__ == "__main__":
    main()
