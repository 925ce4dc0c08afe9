from __future__ import annotations

from itertools import groupby

import pytest

from dashboards import build
from dashboards.kit import AMBER, GREEN, RED, Column, Query, above, choice, plain, row, stat, table, text, timeseries
from dashboards.kit.colors import TASKS, VERMILION
from dashboards.kit.sharing import share
from tests.dashboards.reading import PAGES, alone, named, panels

LOOKS = {"description": "What good looks like and what to do.", "unit": "none", "levels": plain(), "empty": "none"}


def test_a_panel_cannot_be_made_without_what_a_reader_needs():
    for missing in LOOKS:
        with pytest.raises(TypeError, match=missing):
            stat("A", queries=[Query("up")], **{key: value for key, value in LOOKS.items() if key != missing})
        with pytest.raises(TypeError, match=missing):
            timeseries("A", queries=[Query("up")], **{key: value for key, value in LOOKS.items() if key != missing})


def test_a_panel_asks_something():
    with pytest.raises(ValueError, match="without a query"):
        timeseries("A", queries=[], **LOOKS)


def test_a_column_shows_a_label_or_a_number():
    with pytest.raises(ValueError, match="neither a label nor a query"):
        Column(title="Size")


def test_a_row_is_full():
    with pytest.raises(ValueError, match="do not fill"):
        row(4, text("", "a"), text("", "b"), widths=[10, 10])
    with pytest.raises(ValueError, match="do not fill"):
        row(4, *[text("", "a")] * 5)


@pytest.mark.parametrize(
    ("levels", "steps"),
    [
        (above(0.8, 0.95), [(None, GREEN), (0.8, AMBER), (0.95, RED)]),
        (above(0.8), [(None, GREEN), (0.8, RED)]),
        (above(0.8, worst=AMBER), [(None, GREEN), (0.8, AMBER)]),
        # An installation may set a warning above the critical number: Grafana wants rising steps.
        (above(0.99, 0.95), [(None, GREEN), (0.99, RED)]),
    ],
)
def test_levels(levels, steps):
    assert [(step["value"], step["color"]) for step in levels.as_json()["steps"]] == steps


def test_a_choice_offers_all_or_exactly_one():
    several = choice("dask", "Dask", "label_values(dask_cluster_up, target)")
    assert (several["current"]["value"], several["allValue"]) == (["$__all"], ".+")
    one = choice("dask", "Dask", "label_values(dask_cluster_up, target)", several=False)
    assert (one["multi"], one["includeAll"], one["current"]) == (False, False, {})


def test_a_table_with_nothing_in_it_says_why():
    columns = [Column(title="Model", field="model"), Column(title="Size", query="size")]
    made = table("A", description="d", columns=columns, empty="no models", sort="Size")
    assert made.targets[0].expr == '(size) or label_replace(absent(size) * NaN, "model", "no models", "", "")'


@pytest.mark.parametrize("pair", panels(), ids=named)
def test_a_tile_never_goes_on_showing_what_is_no_more(pair):
    """A sparkline's series ends with the system; the tile must end with it, not show its last value as of now."""
    _, panel = pair
    if panel["type"] == "stat":
        assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
        for target in panel["targets"]:
            assert target["instant"] or (") or absent_over_time((" in target["expr"] and "@ end())" in target["expr"])


@pytest.mark.parametrize("pair", panels(), ids=named)
def test_a_tile_without_a_value_is_grey_and_says_a_word(pair):
    _, panel = pair
    if panel["type"] == "stat":
        nothing = panel["fieldConfig"]["defaults"]["mappings"][-1]["options"]
        assert nothing["match"] == "null+nan"
        assert nothing["result"]["text"] == panel["fieldConfig"]["defaults"]["noValue"]
        assert nothing["result"]["color"] not in (GREEN, AMBER, RED)


@pytest.mark.parametrize("name", PAGES)
def test_many_tiles_that_follow_each_other_ask_once_and_each_shows_what_it_asked_for(name, monkeypatch):
    monkeypatch.setattr(build, "share", lambda page: page)
    by_themselves = [without_names(panel) for panel in build.documents()[name]["panels"]]
    assert [without_names(panel) for panel in alone(name)] == by_themselves
    asking = sum(panel["type"] == "stat" and "expr" in panel["targets"][0] for panel in PAGES[name]["panels"])
    runs = [len(list(run)) for kind, run in groupby(panel["type"] for panel in by_themselves) if kind == "stat"]
    assert asking == sum(1 if tiles > 6 else tiles for tiles in runs)


def without_names(panel):
    """With its queries as they are, whatever they are called."""
    targets = [{**target, "refId": ""} for target in panel.get("targets", ())]
    return {**panel, "targets": targets, "transformations": panel.get("transformations") or []}


def test_more_tiles_than_letters_are_refused():
    tiles = [{"id": number, "type": "stat", "targets": [{}]} for number in range(27)]
    with pytest.raises(ValueError, match="zip"):
        share({"panels": tiles})


def test_failed_tasks_alone_are_red():
    assert {state for state, color in TASKS.items() if color == VERMILION} == {"error", "erred"}
