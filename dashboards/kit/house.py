"""What all pages share: the data source, the tags, the colours and how a number gets one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 42
"""Grafana 12.2's; a newer Grafana migrates from it when it loads a page."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
LOKI = {"type": "loki", "uid": "cluster-ai-loki"}
"""The one that the render names so; there is at most one."""
TAG = "cluster-ai"
UID_PREFIX = "cluster-ai-"

# A colour never speaks alone: a word or a number stands beside it, for those who cannot tell these apart. Names are
# Grafana's own, which it adapts to the theme. Its green and orange are too pale for WCAG 2.1 AA, as letters on white
# and below white letters; these have the contrast of 3 that large letters need, on white and on both themes.
GREEN, AMBER, RED, BLUE = "#4c9a41", "#d9700b", "red", "blue"
GREY = "#7b8087"
"""For what is not there: Grafana has no name for a grey that can be read as a tile and as a letter in both themes."""

CELLS = {GREEN: "transparent", GREY: "transparent", AMBER: "#b45309", RED: "#c4162a", BLUE: "#1f60c4"}
"""What is good in a cell of a table looks like any other; the rest has a background on which Grafana's white letters
have a contrast of 4.5, which small ones need. No colour has that as letters on both themes."""


@dataclass(frozen=True, slots=True)
class Levels:
    """From which value on a number has which colour; the first step's value is None, for everything lower."""

    steps: tuple[tuple[float | None, str], ...]

    @property
    def marked(self) -> bool:
        """Whether any value is worse than another, so that a line in a graph says something."""
        return len(self.steps) > 1

    def as_json(self) -> dict[str, Any]:
        """Grafana's `thresholds`."""
        return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in self.steps]}


def plain(color: str = BLUE) -> Levels:
    """A number that is neither good nor bad."""
    return Levels(((None, color),))


def above(warning: float, critical: float | None = None, *, worst: str = RED) -> Levels:
    """Good while lower; amber from `warning` on and `worst` from `critical`, or `worst` at once without one."""
    if critical is None or critical <= warning:
        return Levels(((None, GREEN), (warning, worst)))
    return Levels(((None, GREEN), (warning, AMBER), (critical, worst)))


def below(enough: float, critical: float | None = None, *, bad: str = RED) -> Levels:
    """Bad while lower than `enough`, good from there on; with `critical`, amber between the two."""
    if critical is None or critical >= enough:
        return Levels(((None, bad), (enough, GREEN)))
    return Levels(((None, bad), (critical, AMBER), (enough, GREEN)))
