"""Runbooks: what to do about each alert, read on a phone at three in the morning."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from alert_rules import runbooks
from dashboards.kit import Page, row, text
from dashboards.kit.page import Row

_WIDTH = 90  # letters in a line of half a screen
_LINE = 0.62  # height of a line of text, in units of the grid
_SYSTEMS = {
    "Dask": "Dask",
    "Ollama": "Ollama",
    "OpenWebUI": "Open WebUI",
    "Host": "Hosts",
    "GPU": "Hosts",
    "": "The monitoring itself",
}
"""What an alert's name begins with, and what it is about."""


def page(_limits: Mapping[str, float]) -> Page:
    """A list of them all, then each in a panel of its own, which messages link to."""
    names = runbooks.names()
    pairs = [names[index : index + 2] for index in range(0, len(names), 2)]
    contents = _contents(names)
    return Page(
        uid="runbooks",
        title="Runbooks",
        question="What does this alert mean, and what do I do now?",
        refresh="",
        rows=[row(_height(contents), text("Which runbook?", contents)), *map(_row, pairs)],
    )


def _row(names: tuple[str, ...]) -> Row:
    made = [_panel(name) for name in names]
    if len(made) == 1:
        made.append(text("", "&nbsp;"))
    return row(max(_height(runbooks.text(name)) for name in names), *made)


def _panel(name: str) -> Any:
    panel = text(name, runbooks.text(name))
    panel.id = runbooks.panel_id(name)
    return panel


def _contents(names: tuple[str, ...]) -> str:
    """Links to each, by what they are about."""
    about: dict[str, list[str]] = {}
    for name in names:
        system = next(title for begins, title in _SYSTEMS.items() if name.startswith(begins))
        about.setdefault(system, []).append(
            f"[{name}](/d/cluster-ai-runbooks?viewPanel=panel-{runbooks.panel_id(name)})"
        )
    ordered = dict.fromkeys(_SYSTEMS.values())
    return "\n\n".join(f"**{system}**: {' · '.join(about[system])}" for system in ordered if system in about)


def _height(markdown: str) -> int:
    """Units of the grid that the text takes, with room for headings and blocks of code."""
    lines = sum(max(1, len(wrap(line, _WIDTH))) for line in markdown.splitlines())
    return max(6, 3 + round(lines * _LINE))
