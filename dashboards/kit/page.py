"""A page: panels in rows, and everything Grafana wants around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from dashboards.kit.finish import finish
from dashboards.kit.house import DATASOURCE, SCHEMA_VERSION, TAG, UID_PREFIX
from dashboards.kit.language import say
from dashboards.kit.links import DETAIL_TAG, MAIN, navigation
from dashboards.kit.panels import text
from dashboards.kit.variables import data_source

GRID = 24


# Annotations that people and scripts leave in Grafana itself, such as deployments.
_WRITTEN = {
    "name": "Annotations & Alerts",
    "type": "dashboard",
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels beside each other, of one height."""

    height: int
    panels: tuple[tuple[Any, int], ...]


def row(height: int, *panels: Any, widths: Sequence[int] = ()) -> Row:
    """A row of panels, evenly wide unless `widths` (they sum to 24) says otherwise.

    One unit of height is 38 px: the first screen has 20 of them.
    """
    shares = list(widths) or [GRID // len(panels)] * len(panels)
    if len(shares) != len(panels) or sum(shares) != GRID:
        raise ValueError(f"widths {shares} of {len(panels)} panels do not fill a row of {GRID}")
    return Row(height, tuple(zip(panels, shares, strict=True)))


def heading(title: str, sentence: str) -> Row:
    """What the part of a page below the first screen answers.

    Grafana draws, and asks for, whatever begins less than 100 px below the screen; what follows this waits until
    somebody scrolls.
    """
    return row(3, text("", f"### {say(title)}\n{say(sentence)}"))


def annotation(name: str, expr: str, title: str, *, color: str, at_value: bool = False) -> dict[str, Any]:
    """Marks in every graph of the page where `expr` has a value; `at_value`: its value is the time, in ms."""
    return {
        "name": say(name),
        "enable": True,
        "hide": True,  # the switch, not the marks: its room is the links'
        "iconColor": color,
        "datasource": DATASOURCE,
        "expr": " ".join(expr.split()),
        "step": "30s",
        "titleFormat": say(title),
        "textFormat": "",
        "tagKeys": "",
        "useValueForTime": at_value,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page. `uid` is its name in every link, for ever."""

    uid: str
    title: str
    question: str
    """What it answers; the page's description."""
    rows: Sequence[Row]
    variables: Sequence[dict[str, Any]] = ()
    annotations: Sequence[dict[str, Any]] = ()
    span: str = "30m"
    refresh: str = "5s"
    links: Sequence[dict[str, Any]] = field(default_factory=navigation)

    def document(self) -> dict[str, Any]:
        """The page as Grafana reads it: the same input gives the same document."""
        tags = [TAG] if self.uid in MAIN else [TAG, DETAIL_TAG]
        raw = core.Dashboard(
            uid=f"{UID_PREFIX}{self.uid}",
            title=say(self.title),
            description=say(self.question),
            tags=tags,
            editable=False,
            refresh=self.refresh,
            timezone="browser",
            schemaVersion=SCHEMA_VERSION,
            time=core.Time(f"now-{self.span}", "now"),
            graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
            links=list(self.links),
            panels=self._placed(),
            annotations=core.Annotations(list=[_WRITTEN, *self.annotations]),
        )
        plain: dict[str, Any] = json.loads(json.dumps(raw.to_json_data(), cls=DashboardEncoder))
        plain["templating"] = {"list": [data_source(shown=self._asks() and not self.variables), *self.variables]}
        plain["timepicker"] = {"refresh_intervals": ["5s", "15s", "30s", "1m", "5m", "15m", "1h"]}
        return finish(plain)

    def _asks(self) -> bool:
        """Whether any panel has a query."""
        return any(panel.targets for line in self.rows for panel, _ in line.panels)

    def _placed(self) -> list[Any]:
        placed: list[Any] = []
        top = 0
        for line in self.rows:
            left = 0
            for panel, width in line.panels:
                panel.gridPos = core.GridPos(h=line.height, w=width, x=left, y=top)
                panel.id = panel.id or len(placed) + 1
                placed.append(panel)
                left += width
            top += line.height
        return placed
