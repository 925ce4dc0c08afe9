"""The kinds of panel there are. Each demands what a reader needs: title, description, unit, colours, empty state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from grafanalib import core

from dashboards.kit.house import DATASOURCE, GREY, Levels, plain
from dashboards.kit.states import State, mappings, nothing

Links = Sequence[dict[str, Any]]
_PALETTE = {"mode": "palette-classic"}
_BY_LEVEL = {"mode": "thresholds"}
_GREY = plain(GREY)


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what its series are called: text with `{{label}}`.

    `every` is how often the series are scraped, where that is less often than the targets' 5 s: rates look far enough
    back to see two samples.
    """

    expr: str
    legend: str = ""
    every: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: the label `field` of the queries, or the number that `query` gives for each row.

    With both, `query` is what brings the label, and its number is not shown.
    """

    title: str
    field: str = ""
    query: str = ""
    unit: str = ""
    levels: Levels = _GREY
    states: Sequence[State] = ()
    gauge: bool = False
    decimals: int | None = None
    width: int | None = None
    links: Links = ()
    every: str = ""

    def __post_init__(self) -> None:
        if not (self.field or self.query):
            raise ValueError(f"column {self.title}: neither a label nor a query")


def stat(
    title: str,
    *,
    description: str,
    unit: str,
    queries: Sequence[Query],
    levels: Levels,
    empty: str,
    states: Sequence[State] = (),
    decimals: int | None = None,
    sparkline: bool = False,
    filled: bool = False,
    names: bool = False,
    names_only: bool = False,
    links: Links = (),
) -> core.Stat:
    """One number, or one for each series when `names`, or only the series' names when `names_only`.

    `filled` colours the whole tile, for what must be seen first.

    A tile without a sparkline asks for the present value alone.
    """
    return core.Stat(
        title=title,
        description=description,
        dataSource=DATASOURCE,
        targets=_targets(_present(queries, empty, names_only=names_only, sparkline=sparkline), instant=not sparkline),
        format=unit,
        noValue=empty,
        color=_BY_LEVEL,
        decimals=decimals,
        mappings=[*mappings(states), nothing(empty)],
        reduceCalc="last",
        graphMode="area" if sparkline else "none",
        colorMode="background" if filled else "value",
        textMode="name" if names_only else "value_and_name" if names else "value",
        extraJson={
            # The number itself is the link; an icon for it would take the title's place.
            "fieldConfig": {"defaults": {"thresholds": levels.as_json(), "links": list(links), "min": 0}},
            "options": {"wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard"},
        },
    )


def timeseries(
    title: str,
    *,
    description: str,
    unit: str,
    queries: Sequence[Query],
    levels: Levels,
    empty: str,
    stacked: bool = False,
    maximum: float | None = None,
    decimals: int | None = None,
    legend: str = "list",
    last: str = "",
    colors: Mapping[str, str] = MappingProxyType({}),
    links: Links = (),
) -> core.TimeSeries:
    """Lines over time, from zero. Levels that mark a threshold are drawn as lines.

    `legend`: `list` below, `table` (below, sorted by the last value, the worst first), or `hidden` for one series.
    `last` narrows the panel to a time of its own, such as `24h`. `colors` are of series by name, where red means ill.
    """
    return core.TimeSeries(
        title=title,
        description=description,
        dataSource=DATASOURCE,
        targets=_targets(queries),
        unit=unit,
        fillOpacity=35 if stacked else 8,
        lineWidth=1,
        showPoints="never",
        stacking={"group": "A", "mode": "normal" if stacked else "none"},
        legendDisplayMode=legend,
        legendCalcs=["lastNotNull", "max"] if legend == "table" else [],
        tooltipMode="multi",
        tooltipSort="desc",
        thresholdsStyleMode="dashed" if levels.marked else "off",
        timeFrom=last or None,
        overrides=[
            {
                "matcher": {"id": "byName", "options": name},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
            }
            for name, color in colors.items()
        ],
        links=list(links),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "color": _PALETTE,
                    "thresholds": levels.as_json(),
                    "noValue": empty,
                    "decimals": decimals,
                    "min": 0,
                    "max": maximum,
                    "custom": {"axisBorderShow": False, "axisCenteredZero": False},
                }
            },
            "options": {
                "legend": {
                    "showLegend": legend != "hidden",
                    "displayMode": "list" if legend == "hidden" else legend,
                    **({"sortBy": "Last *", "sortDesc": True} if legend == "table" else {}),
                },
                "tooltip": {"hideZeros": False},
            },
        },
    )


def state_timeline(
    title: str,
    *,
    description: str,
    queries: Sequence[Query],
    states: Sequence[State],
    empty: str,
    links: Links = (),
) -> core.StateTimeline:
    """One band a series, coloured and named by its state."""
    return core.StateTimeline(
        title=title,
        description=description,
        dataSource=DATASOURCE,
        targets=_targets(queries),
        mappings=mappings(states),
        colorMode="fixed",  # by level it would show ranges of numbers in place of the words
        showValue="auto",
        rowHeight=0.8,
        links=list(links),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "thresholds": plain(GREY).as_json(),
                    "noValue": empty,
                    "unit": "none",
                    "custom": {"spanNulls": False},
                }
            },
            # The words in the bands say what a legend would.
            "options": {"legend": {"showLegend": False}, "tooltip": {"sort": "none"}},
        },
    )


def table(
    title: str,
    *,
    description: str,
    columns: Sequence[Column],
    empty: str,
    sort: str,
    descending: bool = True,
    links: Links = (),
) -> core.Table:
    """A row for each set of labels, as they are now. Each query must give the same labels: those that are columns.

    `sort` is the title of the column that decides what stands first.
    """
    asking = [column for column in columns if column.query]
    telling = next((column for column in asking if column.field), asking[0])
    first = next(column.field for column in columns if column.field)
    queries = [
        Query(_or_say(column.query, first, empty) if column is telling else column.query, every=column.every)
        for column in asking
    ]
    targets = _targets(queries, instant=True, table=True)
    names = {column.field: column.title for column in columns if column.field}
    hidden = {"Time": True}
    for target, column in zip(targets, asking, strict=True):
        value = f"Value #{target.refId}" if len(asking) > 1 else "Value"
        if column.field:
            hidden[value] = True
        else:
            names[value] = column.title
    order = {column.title: index for index, column in enumerate(columns)}
    return core.Table(
        title=title,
        description=description,
        dataSource=DATASOURCE,
        targets=targets,
        links=list(links),
        overrides=[_override(column) for column in columns],
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "indexByName": {name: order[title] for name, title in names.items()},
                    "renameByName": names,
                },
            },
        ],
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "color": _BY_LEVEL,
                    "thresholds": plain(GREY).as_json(),
                    "noValue": empty,
                    "custom": {"cellOptions": {"type": "auto"}, "inspect": False, "minWidth": 60},
                }
            },
            "options": {
                "cellHeight": "sm",
                "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
                "sortBy": [{"displayName": sort, "desc": descending}],
            },
        },
    )


def text(title: str, markdown: str) -> core.Text:
    """Words: what to do where no number helps."""
    return core.Text(
        title=title,
        description="",
        content=markdown,
        mode="markdown",
        transparent=True,
        extraJson={"options": {"code": {"language": "plaintext", "showLineNumbers": False, "showMiniMap": False}}},
    )


def _present(queries: Sequence[Query], empty: str, *, names_only: bool, sparkline: bool) -> Sequence[Query]:
    """Queries of a tile that ends with what it asks for: else it would go on showing the last value there was.

    The name of a series has no value whose absence could be said, so it gets a name that says it.
    """
    if names_only:
        labels = [query.legend.partition("{{")[2].partition("}}")[0] for query in queries]
        return [
            replace(query, expr=_or_say(query.expr, label, empty)) for query, label in zip(queries, labels, strict=True)
        ]
    if sparkline:
        return [replace(query, expr=f"({query.expr}) or absent({query.expr}) * NaN") for query in queries]
    return queries


def _or_say(expr: str, label: str, empty: str) -> str:
    """`expr`, or where it has nothing one row that says why: Grafana shows an empty table without a word."""
    return f'({expr}) or label_replace(absent({expr}) * NaN, "{label}", "{empty}", "", "")'


def _targets(queries: Sequence[Query], *, instant: bool = False, table: bool = False) -> list[core.Target]:
    if not queries:
        raise ValueError("a panel without a query")
    return [
        core.Target(
            expr=" ".join(query.expr.split()),
            legendFormat=query.legend or "__auto",
            interval=query.every,
            refId=chr(ord("A") + index),
            instant=instant,
            format="table" if table else "time_series",
            datasource=DATASOURCE,
        )
        for index, query in enumerate(queries)
    ]


def _override(column: Column) -> dict[str, Any]:
    """How one column looks. A cell without a value is a dash, whatever the table says when it is empty."""
    properties: dict[str, Any] = {"noValue": "-"}
    if not column.field:
        properties |= {"unit": column.unit or "none", "thresholds": column.levels.as_json()}
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if not column.field:
        properties["mappings"] = [*mappings(column.states), nothing("-")]
    if column.gauge:
        properties |= {"custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}}
        properties |= {"min": 0, "max": 1}
    elif column.states or column.levels.marked:
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.width:
        properties["custom.width"] = column.width
    if column.links:
        properties["links"] = list(column.links)
    return {
        "matcher": {"id": "byName", "options": column.title},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }
