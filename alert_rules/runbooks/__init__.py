"""The runbook pages: one Markdown file an alert, named after it, and the panel that shows it.

A page has the four sections in `SECTIONS`, in that order, and is written for somebody woken at three who reads it on a
phone: short, with the exact commands.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from importlib.resources import files

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation")


def panel_id(name: str) -> int:
    """The panel of the runbook page that shows alert `name`: from the name alone, so that links in old messages stay.

    Six digits, which keeps links short; a test holds that no two alerts share one.
    """
    return 100_000 + zlib.crc32(name.encode()) % 900_000


def names() -> tuple[str, ...]:
    """The alerts that have a page, sorted."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".md") for name in found if name.endswith(".md")))


def text(name: str) -> str:
    """The page of one alert as Markdown; raises FileNotFoundError when it has none."""
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")


def problems(name: str) -> list[str]:
    """What keeps the page of `name` from being complete; empty when it is."""
    if name not in names():
        return [f"there is no alert_rules/runbooks/{name}.md"]
    page = text(name)
    found = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    wrong = [] if tuple(found) == SECTIONS else [f"{name}: sections {', '.join(found)}; wanted {', '.join(SECTIONS)}"]
    empty = [title for title, body in _sections(page) if not body.strip()]
    return wrong + [f"{name}: nothing under {title}" for title in empty]


def _sections(page: str) -> Iterable[tuple[str, str]]:
    for part in f"\n{page}".split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        yield title, body
