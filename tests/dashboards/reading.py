"""What tests read of the pages: panels, queries, and PromQL without Grafana's variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dashboards.build import documents

PAGES = documents()
# A value for each of Grafana's own variables; those of the page become a regular expression for all.
_GLOBALS = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}


@dataclass(frozen=True)
class Asked:
    """One query, and who asks it."""

    page: str
    panel: str
    expr: str
    kind: str
    instant: bool = True

    def __str__(self) -> str:
        return f"{self.page}: {self.panel}"


def panels() -> list[tuple[str, dict[str, Any]]]:
    return [(name, panel) for name in PAGES for panel in alone(name)]


def alone(name: str) -> list[dict[str, Any]]:
    """The panels of a page, each as if it asked by itself for what it shows."""
    there = PAGES[name]["panels"]
    by_id = {panel["id"]: panel for panel in there}
    return [_alone(panel, by_id) for panel in there]


def _alone(panel: dict[str, Any], by_id: dict[int, dict[str, Any]]) -> dict[str, Any]:
    if panel["type"] != "stat" or not panel.get("transformations"):
        return panel
    [part] = panel["transformations"]
    own = re.compile(part["options"]["include"].strip("/"))
    asking = by_id[panel["targets"][0].get("panelId", panel["id"])]
    targets = [target for target in asking["targets"] if own.fullmatch(target["refId"])]
    return {**panel, "datasource": asking["datasource"], "targets": targets, "transformations": []}


def named(pair: object) -> str:
    """The id of a test for a panel."""
    return pair[1]["title"] or "text" if isinstance(pair, tuple) else str(pair)


def queries() -> Iterator[Asked]:
    """Every PromQL of the pages: panels, annotations and variables."""
    for name, panel in panels():
        for target in panel.get("targets", ()):
            yield Asked(name, panel["title"], target["expr"], panel["type"], target["instant"])
    for name, page in PAGES.items():
        for mark in page["annotations"]["list"]:
            if "expr" in mark:
                yield Asked(name, mark["name"], mark["expr"], "annotation")
        for variable in page["templating"]["list"]:
            if variable["type"] == "query":
                yield Asked(name, variable["name"], of_variable(variable)[0], "variable")


def of_variable(variable: dict[str, Any]) -> tuple[str, str]:
    """The selector and the label of `label_values(SELECTOR, LABEL)`."""
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
    assert match, variable["definition"]
    return match[1], match[2]


def substituted(expr: str, **chosen: str) -> str:
    """The query as Prometheus gets it, with `All` for what is not chosen. Raises KeyError for an unknown variable."""
    for name, value in _GLOBALS.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$(\w+)", lambda match: chosen.get(match[1], ".+"), expr)
