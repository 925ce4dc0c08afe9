"""Tables: a row for each set of labels, its numbers as they are now."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grafanalib import core

from dashboards.kit.house import CELLS, DATASOURCE, GREY, Levels, plain
from dashboards.kit.language import say
from dashboards.kit.links import Links
from dashboards.kit.states import State, mappings, nothing
from dashboards.kit.targets import Query, or_say, targets

_GREY = plain(GREY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: the label `field` of the queries, or the number that `query` gives for each row.

    With both, `query` is what brings the label, and its number is not shown. A `hidden` label is there for links
    alone. `words` gives values of a label another word and a colour.
    """

    title: str
    field: str = ""
    query: str = ""
    unit: str = ""
    levels: Levels = _GREY
    states: Sequence[State] = ()
    words: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    gauge: bool = False
    decimals: int | None = None
    width: int | None = None
    links: Links = ()
    every: str = ""
    hidden: bool = False

    def __post_init__(self) -> None:
        if not (self.field or self.query):
            raise ValueError(f"column {self.title}: neither a label nor a query")


def cell(title: str) -> str:
    """What a link's address takes from its row: the cell in the column of that title; nothing where there is none.

    For a hidden column the title is its label.
    """
    return f'${{__data.fields["{_said(title)}"]:percentencode}}'


def table(
    title: str,
    *,
    description: str,
    columns: Sequence[Column],
    empty: str,
    sort: str,
    descending: bool = True,
    says: str = "",
    links: Links = (),
) -> core.Table:
    """A row for each set of labels, as they are now. Each query must give the same labels: those that are columns.

    `sort` is the title of the column that decides what stands first; `says` the label whose column says that the table
    is empty, the first unless that one's cells are links.
    """
    asking = [column for column in columns if column.query]
    telling = next((column for column in asking if column.field), asking[0])
    first = says or next(column.field for column in columns if column.field)
    queries = [
        Query(or_say(column.query, first, empty) if column is telling else column.query, every=column.every)
        for column in asking
    ]
    asked = targets(queries, instant=True, table=True)
    names = {column.field: _said(column.title) for column in columns if column.field}
    hidden = {"Time": True}
    for target, column in zip(asked, asking, strict=True):
        value = f"Value #{target.refId}" if len(asking) > 1 else "Value"
        if column.field:
            hidden[value] = True
        else:
            names[value] = _said(column.title)
    order = {_said(column.title): index for index, column in enumerate(columns)}
    return core.Table(
        title=say(title),
        description=say(description),
        dataSource=DATASOURCE,
        targets=asked,
        links=list(links),
        overrides=[_override(column) for column in columns],
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "indexByName": {name: order[shown] for name, shown in names.items()},
                    "renameByName": names,
                },
            },
        ],
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "color": {"mode": "thresholds"},
                    "thresholds": _GREY.as_json(),
                    "noValue": say(empty),
                    "custom": {"cellOptions": {"type": "auto"}, "inspect": False, "minWidth": 60},
                }
            },
            "options": {
                "cellHeight": "sm",
                "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
                "sortBy": [{"displayName": _said(sort), "desc": descending}],
            },
        },
    )


def _said(title: str) -> str:
    """A column's title as people read it; that of a hidden one is the label's name, which nobody does."""
    return title if title == title.lower() and title.isidentifier() else say(title)


def _override(column: Column) -> dict[str, Any]:
    """How one column looks. A cell without a value is a dash, whatever the table says when it is empty."""
    properties: dict[str, Any] = {"noValue": "-"}
    if not column.field:
        levels = (
            column.levels
            if column.gauge
            else Levels(tuple((value, _cell(color)) for value, color in column.levels.steps))
        )
        properties |= {"unit": column.unit or "none", "thresholds": levels.as_json()}
        states = [replace(state, color=_cell(state.color)) for state in column.states]
        properties["mappings"] = [*mappings(states), nothing("-", color="transparent")]
    if column.words:
        properties["mappings"] = [_words(column.words)]
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.gauge:
        properties |= {"custom.cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}}
        properties |= {"min": 0, "max": 1}
    elif column.states or column.words or column.levels.marked:
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    if column.width:
        properties["custom.width"] = column.width
    if column.links:
        properties["links"] = list(column.links)
    if column.hidden:
        properties["custom.hideFrom.viz"] = True
    return {
        "matcher": {"id": "byName", "options": _said(column.title)},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def _cell(color: str) -> str:
    return CELLS.get(color, color)


def _words(words: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Grafana's value mapping of texts."""
    options = {
        value: {"color": _cell(color), "index": index, "text": say(word)}
        for index, (value, (word, color)) in enumerate(words.items())
    }
    return {"type": "value", "options": options}
