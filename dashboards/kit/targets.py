"""What a panel asks of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafanalib import core

from dashboards.kit.house import DATASOURCE
from dashboards.kit.language import say


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called: text with `{{label}}`.

    `every` is how often the series are scraped, where that is less often than the targets' 5 s: rates look far enough
    back to see two samples.
    """

    expr: str
    legend: str = ""
    every: str = ""


def or_say(expr: str, label: str, empty: str) -> str:
    """`expr`, or where it has nothing one row that says why: Grafana shows an empty table without a word."""
    return f'({expr}) or label_replace(absent({expr}) * NaN, "{label}", "{say(empty)}", "", "")'


def targets(queries: Sequence[Query], *, instant: bool = False, table: bool = False) -> list[core.Target]:
    """Grafana's targets; raises ValueError where there is no query."""
    if not queries:
        raise ValueError("a panel without a query")
    return [
        core.Target(
            expr=" ".join(query.expr.split()),
            legendFormat=say(query.legend) or "__auto",
            interval=query.every,
            refId=chr(ord("A") + index),
            instant=instant,
            format="table" if table else "time_series",
            datasource=DATASOURCE,
        )
        for index, query in enumerate(queries)
    ]
