"""What people choose at the top of a page."""

from __future__ import annotations

from typing import Any

from grafanalib.core import Template

from dashboards.kit.house import DATASOURCE
from dashboards.kit.language import say

_HIDDEN = 2
_ON_TIME_CHANGE = 2  # so that a worker that came meanwhile is there


def data_source(*, shown: bool) -> dict[str, Any]:
    """Which Prometheus; the name is the one that Grafana's own linter looks for.

    Where a page offers other choices it is not shown, so that one line has room for all: what was chosen on a page
    that shows it goes along with every link.
    """
    variable = _as_json(
        Template(name="datasource", type="datasource", query="prometheus", label=say("Data source"), hide=_HIDDEN)
    )
    variable["hide"] = 0 if shown else _HIDDEN
    return variable


def choice(name: str, label: str, query: str, *, several: bool = True, description: str = "") -> dict[str, Any]:
    """A choice among the values of a label: `query` is `label_values(METRIC{...}, LABEL)`.

    `several` offers All, which stands for everything that has the label at all; else exactly one is chosen.
    """
    variable = _as_json(
        Template(
            name=name,
            label=say(label),
            query=query,
            dataSource=DATASOURCE,
            refresh=_ON_TIME_CHANGE,
            includeAll=several,
            multi=several,
            allValue=".+" if several else None,
        )
    )
    variable["definition"] = query
    variable["query"] = {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    if several:
        variable["current"] = {"selected": True, "text": ["All"], "value": ["$__all"]}
    if description:
        variable["description"] = say(description)
    return variable


def _as_json(template: Template) -> dict[str, Any]:
    data: dict[str, Any] = template.to_json_data()
    data["current"] = {}
    return {key: value for key, value in data.items() if key in _KEPT and value is not None}


_KEPT = frozenset(
    ("allValue", "current", "datasource", "hide", "includeAll", "label", "multi", "name", "options", "query")
) | {"refresh", "regex", "sort", "type"}
