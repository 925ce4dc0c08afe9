"""Colours of lines that people who do not see all colours can tell apart: Okabe and Ito's, on both themes.

Grafana's own palette sets green beside red and orange. It lets no other be chosen, but each series may be given a
colour by its name: names we know get theirs in turn, others (hosts, workers, models) one by a letter of their name, so
that a name has the same colour on every page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dashboards.kit.house import GREY
from dashboards.kit.language import say
from dashboards.kit.targets import Query

BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE)
"""In this order: the last two are pale on a light page. Their yellow cannot be seen there and is left out."""

TASKS = {
    "executing": GREEN,
    "processing": GREEN,
    "long-running": SKY,
    "memory": BLUE,
    "ready": ORANGE,
    "queued": ORANGE,
    "no-worker": ORANGE,
    "constrained": ORANGE,
    "waiting": GREY,
    "fetch": PURPLE,
    "flight": PURPLE,
    "missing": PURPLE,
    "released": SKY,
    "forgotten": SKY,
    "error": VERMILION,
    "erred": VERMILION,
}
"""Dask's states of a task, the same on every page."""

_KNOWN: Mapping[str, Mapping[str, str]] = {
    "job": {
        "exporter": BLUE,
        "prometheus": VERMILION,
        "alertmanager": GREEN,
        "grafana": ORANGE,
        "node": PURPLE,
        "sms_bridge": SKY,
    },
    "service": {
        "nginx": BLUE,
        "grafana-1": ORANGE,
        "postgres": GREEN,
        "prometheus": VERMILION,
        "alertmanager": PURPLE,
        "exporter": SKY,
    },
    "status": {"running": GREEN, "paused": VERMILION, "closing_gracefully": PURPLE, "closing": ORANGE, "init": SKY},
    "state": {"active": BLUE, "suppressed": PURPLE, "unprocessed": ORANGE},
    "integration": {"email": BLUE, "webhook": GREEN},
    "result": {"sent": GREEN, "waiting": SKY, "refused": ORANGE, "unknown": PURPLE, "duplicate": BLUE},
    "direction": {"incoming": BLUE, "outgoing": VERMILION},
    "phase": {"load": ORANGE, "prefill": PURPLE, "decode": BLUE, "wait": VERMILION},
    "outcome": {
        "complete": GREEN,
        "failed": VERMILION,
        "aborted": ORANGE,
        "unreachable": PURPLE,
        "cancelled": SKY,
        "refused": BLUE,
    },
    "kind": {"computed": VERMILION, "scattered": PURPLE},
}
_BEGINNING = frozenset(("model", "task_prefix_name"))  # their ends are alike: `:8b`, `-v2`
_DASHES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"dash": [8, 6], "fill": "dash"},
    {"dash": [0, 6], "fill": "dot"},
)
_SIGNS = "0123456789abcdefghijklmnopqrstuvwxyz"


def overrides(queries: Sequence[Query], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """What Grafana needs to draw each series in its colour. `colors` are of series by name, before all else."""
    legends = {query.legend for query in queries}  # other names are values of labels, which nobody translates
    free = [color for color in SERIES if color not in colors.values()]
    made: list[dict[str, Any]] = []
    named = 0
    many = [query for query in queries if "{{" in query.legend]
    for query in queries:
        if query not in many:
            made.append(_named(say(query.legend), free[named % len(free)]))
            named += 1
    for index, query in enumerate(many):
        made += _by_label(query.legend)
        dash = _DASHES[index % len(_DASHES)]
        if dash:  # the same host or target in another respect
            matcher = {"id": "byFrameRefID", "options": chr(ord("A") + queries.index(query))}
            made.append({"matcher": matcher, "properties": [{"id": "custom.lineStyle", "value": dash}]})
    return made + [_named(say(name) if name in legends else name, color) for name, color in colors.items()]


def _by_label(legend: str) -> Iterator[dict[str, Any]]:
    """Of series that are called by a label's value, which we know or do not."""
    label = legend.partition("{{")[2].partition("}}")[0]
    after = legend.partition("}}")[2]
    if label in _KNOWN:
        for value, color in _KNOWN[label].items():
            yield _named(say(legend).replace(f"{{{{{label}}}}}", value), color)
        return
    said = say(legend).partition("}}")[2]
    for index, color in enumerate(SERIES[1:], 1):  # the first is everybody else's
        signs = f"[{_SIGNS[index :: len(SERIES)]}]"
        if label in _BEGINNING:
            pattern = f"^{signs}"
        elif "{{" in after:
            pattern = f"{signs}\\W*$"
        else:
            pattern = f"{signs}{re.escape(said)}$"
        matcher = {"id": "byRegexp", "options": f"/{pattern}/i"}
        yield {"matcher": matcher, "properties": [_fixed(color)]}


def _named(name: str, color: str) -> dict[str, Any]:
    return {"matcher": {"id": "byName", "options": name}, "properties": [_fixed(color)]}


def _fixed(color: str) -> dict[str, Any]:
    return {"id": "color", "value": {"mode": "fixed", "fixedColor": color}}
