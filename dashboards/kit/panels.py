"""The kinds of panel there are. Each demands what a reader needs: title, description, unit, colours, empty state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from grafanalib import core

from dashboards.kit.colors import SERIES, overrides
from dashboards.kit.house import DATASOURCE, GREY, Levels, plain
from dashboards.kit.language import say
from dashboards.kit.links import Links
from dashboards.kit.states import State, mappings, nothing
from dashboards.kit.targets import Query, or_say, targets

_EVERYBODY_ELSE = {"mode": "fixed", "fixedColor": SERIES[0]}
_BY_LEVEL = {"mode": "thresholds"}
_ABSENT = -9  # no state has this number


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
    if not names_only:  # else Grafana would show the query where a pointer rests on the number
        queries = [query if query.legend else replace(query, legend=title) for query in queries]
    return core.Stat(
        title=say(title),
        description=say(description),
        dataSource=DATASOURCE,
        targets=targets(_present(queries, empty, names_only=names_only, sparkline=sparkline), instant=not sparkline),
        format=_said(unit),
        noValue=say(empty),
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
        title=say(title),
        description=say(description),
        dataSource=DATASOURCE,
        targets=targets(queries),
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
        overrides=overrides(queries, colors),
        links=list(links),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "color": _EVERYBODY_ELSE,
                    "thresholds": levels.as_json(),
                    "noValue": say(empty),
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
    seen: str,
    links: Links = (),
) -> core.StateTimeline:
    """One band a series, coloured and named by its state.

    Where `seen`, samples up to the end such as `up[15m]`, has none, a band says that the panel is empty: Grafana would
    put its own words there, which no field can replace.
    """
    return core.StateTimeline(
        title=say(title),
        description=say(description),
        dataSource=DATASOURCE,
        targets=targets([*queries, Query(f"absent(present_over_time({seen} @ end())) * {_ABSENT}", empty)]),
        mappings=mappings([*states, State(_ABSENT, empty, GREY)]),
        colorMode="fixed",  # by level it would show ranges of numbers in place of the words
        showValue="auto",
        rowHeight=0.8,
        links=list(links),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "thresholds": plain(GREY).as_json(),
                    "noValue": say(empty),
                    "unit": "none",
                    "custom": {"spanNulls": False},
                }
            },
            # The words in the bands say what a legend would.
            "options": {"legend": {"showLegend": False}, "tooltip": {"sort": "none"}},
        },
    )


def text(title: str, markdown: str) -> core.Text:
    """Words: what to do where no number helps. `markdown` is said in the page's language already."""
    return core.Text(
        title=say(title),
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
            replace(query, expr=or_say(query.expr, label, empty)) for query, label in zip(queries, labels, strict=True)
        ]
    if sparkline:
        return [replace(query, expr=_ending(query.expr)) for query in queries]
    return queries


def _said(unit: str) -> str:
    """A unit of our own words after the number is said as they are; Grafana has its own words for its own."""
    kind, colon, words = unit.partition(": ")
    return f"{kind}: {say(words)}" if colon else unit


def _ending(expr: str) -> str:
    """`expr`, whose last value is NaN where it has none at the end of the time that is shown.

    Only then: before a series begins, Grafana would draw a slope from zero up to its first value.
    """
    return f"({expr}) or absent_over_time(({expr})[1s:1s] @ end()) * NaN"
