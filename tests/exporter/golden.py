"""Goldens: one collection of a collector as text, compared byte for byte with the committed files.

`tests/golden/<system>/<version>.txt` is the text format, `.om` OpenMetrics. `pytest --update-golden` rewrites
them; the difference is then read in review. Every golden is read back by both of prometheus-client's parsers and
linted by promtool where one is found.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.collectors.base import Collector
from exporter.families import Family, encode
from exporter.scrape import Watch
from provisioning.config.targets import Target

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


async def collect(collector: Collector) -> list[Family]:
    """The families of one collection, as a scrape would give them, at a time that stands still; no part may fail."""
    watch = Watch(Target(name="golden"), collector, clock=lambda: 0.0, monotonic=lambda: 0.0)
    collection = await watch.collect(budget=60)
    assert collection.error is None, collection.error
    return collection.families


class Golden:
    """Compares a collection with its golden files; the `golden` fixture gives one."""

    def __init__(self, *, update: bool) -> None:
        self._update = update

    async def check(self, collector: Collector, version: str) -> None:
        """One collection of `collector`, held against `tests/golden/<system>/<version>.{txt,om}`."""
        self.compare(await collect(collector), collector.system, version)

    def compare(self, families: Iterable[Family], system: str, version: str) -> None:
        """Ready families, for a caller that ran the collection itself."""
        families = list(families)
        text = encode(families, openmetrics=False)
        self.texts(text, encode(families, openmetrics=True) + "# EOF\n", system, version)

    def texts(self, text: str, openmetrics: str, system: str, version: str) -> None:
        """Both expositions, of what writes them itself."""
        assert_parses(text, openmetrics)
        folder = GOLDEN / system
        self._same(folder / f"{version}.txt", text)
        self._same(folder / f"{version}.om", openmetrics)
        lint(text)

    def _same(self, path: Path, text: str) -> None:
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.is_file():
            pytest.fail(f"{path.relative_to(ROOT)} is missing; make it with: pytest --update-golden")
        wanted = path.read_bytes().decode()
        if wanted != text:
            lines = difflib.unified_diff(
                wanted.splitlines(), text.splitlines(), "golden", "collected", lineterm="", n=1
            )
            pytest.fail(f"{path.relative_to(ROOT)} differs (pytest --update-golden accepts it):\n" + "\n".join(lines))


def assert_parses(text: str, openmetrics: str) -> None:
    """Both of prometheus-client's parsers read the same samples from both formats."""
    from_text = {sample[:3] for sample in _samples(parse_text(text))}
    from_openmetrics = {sample[:3] for sample in _samples(parse_openmetrics(openmetrics))}
    assert from_text == from_openmetrics
    assert len(from_text) == len(re.findall(r"^[^#\n]", text, re.MULTILINE)), "two samples have the same labels"


def _samples(families: Iterable[object]) -> Iterable[tuple[str, tuple[tuple[str, str], ...], str]]:
    for family in families:
        for sample in family.samples:  # type: ignore[attr-defined]
            yield sample.name, tuple(sorted(sample.labels.items())), repr(sample.value)


def find_promtool() -> str | None:
    """promtool on PATH, else the newest in the project's cache of binaries."""
    cached = sorted((path for path in (ROOT / ".cache").glob("**/promtool") if os.access(path, os.X_OK)), reverse=True)
    return shutil.which("promtool") or next((str(path) for path in cached), None)


def lint(text: str) -> None:
    """`promtool check metrics` finds nothing to say; without a promtool only the comparison above holds."""
    promtool = find_promtool()
    if promtool is None:
        return
    run = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"promtool: {run.stdout}{run.stderr}"
    assert not (run.stdout + run.stderr).strip(), f"promtool: {run.stdout}{run.stderr}"
