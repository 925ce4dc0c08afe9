"""Panels and choices of what Loki keeps: lines, and lines counted over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafanalib import core

from dashboards.kit.house import LOKI, plain
from dashboards.kit.language import say
from dashboards.kit.panels import timeseries
from dashboards.kit.targets import Query
from dashboards.kit.targets import targets as asked

_ON_TIME_CHANGE = 2


def lines(title: str, *, description: str, query: str, empty: str) -> core.Logs:
    """Lines as they were written, the newest first."""
    return core.Logs(
        title=say(title),
        description=say(description),
        dataSource=LOKI,
        targets=_of_loki([Query(query)]),
        showTime=True,
        showLabels=True,
        wrapLogMessages=True,
        enableLogDetails=True,
        sortOrder="Descending",
        dedupStrategy="none",
        extraJson={"fieldConfig": {"defaults": {"noValue": say(empty), "unit": "none"}, "overrides": []}},
    )


def counted(title: str, *, description: str, queries: Sequence[Query], empty: str) -> core.TimeSeries:
    """How many lines there were over time, of everything together and of each."""
    panel = timeseries(
        title,
        description=description,
        unit="short",
        queries=queries,
        levels=plain(),
        empty=empty,
        decimals=0,
        stacked=True,
    )
    panel.dataSource = LOKI
    panel.targets = _of_loki(queries)
    # Lines come now and then, and between them there is no value that a line could be drawn through.
    panel.drawStyle, panel.fillOpacity, panel.interval = "bars", 70, "1m"
    return panel


def label_choice(name: str, label: str) -> dict[str, Any]:
    """A choice among the values of one of Loki's labels, all unless some are chosen."""
    return {
        "name": name,
        "type": "query",
        "label": say(label),
        "datasource": LOKI,
        "definition": f"label_values({name})",
        "query": {"label": name, "refId": "LokiVariableQueryEditor-VariableQuery", "stream": "", "type": 1},
        "refresh": _ON_TIME_CHANGE,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def search(name: str, label: str) -> dict[str, Any]:
    """A field for a text to look for; empty, it asks for nothing."""
    nothing = {"selected": True, "text": "", "value": ""}
    return {
        "name": name,
        "type": "textbox",
        "label": say(label),
        "query": "",
        "hide": 0,
        "current": nothing,
        "options": [nothing],
    }


def _of_loki(queries: Sequence[Query]) -> list[core.Target]:
    made = asked(queries)
    for target in made:
        target.datasource = LOKI
    return made
