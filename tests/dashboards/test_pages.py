"""A linter of our own: the rules of grafana/dashboard-linter by their names, then those of this house."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from alert_rules import links, runbooks
from alert_rules.thresholds import defaults
from dashboards.build import HOME, documents
from dashboards.kit.colors import SERIES
from dashboards.kit.house import DATASOURCE, GREY, UID_PREFIX
from dashboards.kit.links import MAIN
from tests.dashboards.reading import PAGES, Asked, named, of_variable, panels, queries, substituted

# A window that is not $__rate_interval, and why.
FIXED_WINDOWS = {
    "openwebui_model_tokens_seen_total": "read once a minute (`refresh`)",
    "openwebui_model_messages_seen_total": "read once a minute (`refresh`)",
    "[5m]": "a share of what ended, which a shorter window makes a lottery",
    "[1h]": "a count of rare events within an hour, which the title says",
    "[24h]": "a count of rare events within a day, which the title says",
}
each_page = pytest.mark.parametrize("name", PAGES)
each_panel = pytest.mark.parametrize("pair", panels(), ids=named)
each_query = pytest.mark.parametrize("asked", list(queries()), ids=str)


# --- grafana/dashboard-linter ---


@each_page
def test_template_datasource_rule(name):
    first = PAGES[name]["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"], first["label"]) == (
        "datasource",
        "datasource",
        "prometheus",
        "Data source",
    )


@each_page
def test_template_rules(name):
    """template-label-promql, template-on-time-change-reload; ours: All is offered wherever several can be chosen."""
    for variable in PAGES[name]["templating"]["list"][1:]:
        assert variable["datasource"] == DATASOURCE
        assert variable["refresh"] == 2
        assert variable["label"]
        assert variable["multi"] == variable["includeAll"]
        assert variable.get("allValue") == (".+" if variable["multi"] else None)
        assert variable["query"]["query"] == variable["definition"]
        of_variable(variable)


@each_panel
def test_panel_rules(pair):
    """panel-datasource, panel-title-description, panel-units, panel-no-targets."""
    _, panel = pair
    if panel["type"] == "text":
        assert panel["options"]["content"].strip()
        return
    assert panel["datasource"] == DATASOURCE
    assert panel["title"]
    assert len(panel["description"]) > 40
    assert panel["targets"]
    assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
    if panel["type"] == "table":
        units = {side["matcher"]["options"]: properties(side).get("unit") for side in panel["fieldConfig"]["overrides"]}
        named_after = panel["transformations"][1]["options"]["renameByName"]
        assert all(units[title] for field, title in named_after.items() if field.startswith("Value"))
    else:
        assert panel["fieldConfig"]["defaults"]["unit"]


@each_panel
def test_lines_have_colours_that_everybody_tells_apart(pair):
    """Not Grafana's own palette, in which green stands beside red."""
    _, panel = pair
    if panel["type"] == "timeseries":
        sides = [properties(side) for side in panel["fieldConfig"]["overrides"]]
        modes = [panel["fieldConfig"]["defaults"]["color"], *(side["color"] for side in sides if "color" in side)]
        assert {mode["mode"] for mode in modes} == {"fixed"}
        assert {mode["fixedColor"] for mode in modes} <= {*SERIES, GREY}


def properties(override):
    return {one["id"]: one["value"] for one in override["properties"]}


@each_query
def test_target_rate_interval_rule(asked: Asked):
    for window in re.findall(r"(?:rate|increase|irate)\(([^()]*\[[^\]]+\])\)", asked.expr):
        assert "[$__rate_interval]" in window or any(excused in window for excused in FIXED_WINDOWS), window


@each_query
def test_target_counter_agg_rule(asked: Asked):
    """A counter is read through rate, increase or changes, or counted: its level says when it was last restarted."""
    bare = re.sub(r"(?:rate|increase|changes|count by \(\w+\))\s*\([^()]*\)", "", asked.expr)
    assert not re.findall(r"\w+_total\b", bare)


@each_page
def test_uneditable_rule(name):
    assert PAGES[name]["editable"] is False


# --- of this house ---


@each_page
def test_identity(name):
    page = PAGES[name]
    assert page["uid"] == f"{UID_PREFIX}{name}"
    assert page["schemaVersion"] == 42
    assert "cluster-ai" in page["tags"]
    assert page["description"].partition("?")[1], "the description begins with the question the page answers"
    assert page["refresh"] in ("5s", "15s") or name == "runbooks"
    assert page["graphTooltip"] == 1


def test_the_five_pages_and_the_home_page_are_there():
    assert HOME in PAGES
    assert list(PAGES)[: len(MAIN)] == list(MAIN)
    titles = [page["title"] for page in PAGES.values()]
    assert len(set(titles)) == len(titles)


@each_page
def test_panels_are_few_numbered_and_apart(name):
    found = PAGES[name]["panels"]
    if name == "runbooks":  # words alone, which ask nothing, numbered for the links of messages
        assert {runbooks.panel_id(alert) for alert in runbooks.names()} <= {panel["id"] for panel in found}
        assert not any("targets" in panel for panel in found)
    else:
        assert len([panel for panel in found if panel["type"] != "text"]) <= 24
        assert [panel["id"] for panel in found] == list(range(1, len(found) + 1))
    assert len({panel["id"] for panel in found}) == len(found)
    for one, other in itertools.combinations([panel["gridPos"] for panel in found], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found)


@each_page
def test_the_first_screen_is_full_and_nothing_below_it_is_drawn(name):
    """It has 20 units at 1600x900, and Grafana draws what begins above 23: there stands a heading alone."""
    if name in ("runbooks", "alerts"):
        return  # the one asks nothing; of the other, what fired before is still of interest
    rows = {}
    for panel in PAGES[name]["panels"]:
        rows.setdefault(panel["gridPos"]["y"], []).append(panel)
    assert [panel["type"] for panel in rows[20]] == ["text"]
    assert max(top for top in rows if top < 20) + rows[max(top for top in rows if top < 20)][0]["gridPos"]["h"] == 20
    assert min(top for top in rows if top > 20) == 23


@each_panel
def test_an_empty_panel_says_why(pair):
    _, panel = pair
    if panel["type"] != "text":
        said = panel["fieldConfig"]["defaults"]["noValue"]
        assert said
        assert "no data" not in said.lower()


@each_query
def test_an_absence_is_not_hidden_and_nobody_divides_by_a_guess(asked: Asked):
    assert not re.search(r"\bor\s+(?:on\s*\(\)\s*)?vector\(", asked.expr)
    assert "vector(0)" not in asked.expr


@each_panel
def test_several_series_have_a_legend_that_tells_them_apart(pair):
    _, panel = pair
    if panel["type"] == "timeseries":
        grouped = any(re.search(r"\bby\s*\(\s*\w", target["expr"]) for target in panel["targets"])
        hidden = not panel["options"]["legend"]["showLegend"]
        assert not (grouped and hidden)
        assert not grouped or all(target["legendFormat"] != "__auto" for target in panel["targets"])


@each_page
def test_links_lead_to_pages_that_exist_and_keep_the_time(name):
    text = json.dumps(PAGES[name])
    uids = {page["uid"] for page in PAGES.values()}
    # The one that ends in a hyphen goes on with the page that an alert names.
    assert set(re.findall(r"/d/([\w-]+)", text)) - {"cluster-ai-"} <= uids
    assert {f"cluster-ai-{there}" for there in links.PAGES} <= uids
    for link in PAGES[name]["links"]:
        assert link["keepTime"]
        assert link["includeVars"]
    for url in re.findall(r'"url": "(/d/(?:[^"\\]|\\.)+)"', text):
        top = any(link.get("url") == url for link in PAGES[name]["links"])
        assert top or "${__url_time_range}" in url


@each_page
def test_variables_of_links_exist_on_the_page_they_lead_to(name):
    for uid, query in re.findall(rf"/d/{UID_PREFIX}(\w+)\?([^\"]+)", json.dumps(PAGES[name])):
        there = {variable["name"] for variable in PAGES[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= there


@each_page
def test_alerts_and_restarts_are_marked(name):
    if not any(panel["type"] in ("timeseries", "state-timeline") for panel in PAGES[name]["panels"]):
        return  # there is no line to mark, and each mark is a request
    marks = {mark["name"] for mark in PAGES[name]["annotations"]["list"]}
    assert marks == {"Annotations & Alerts", "Alerts", "Restarts", "New versions"}


@each_query
def test_variables_that_are_used_are_there(asked: Asked):
    there = {variable["name"] for variable in PAGES[asked.page]["templating"]["list"]}
    used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", asked.expr)) - {"__rate_interval", "__interval", "__range"}
    assert used <= there


@each_query
def test_a_choice_of_several_is_matched_as_a_regular_expression(asked: Asked):
    for variable in PAGES[asked.page]["templating"]["list"]:
        if variable.get("multi"):
            uses = re.findall(rf"(\S)\"\${variable['name']}\b", asked.expr)
            assert set(uses) <= {"~"}


@each_page
def test_thresholds_are_those_in_force(name):
    """Raising every number changes the colours: none is written into a page."""
    moved = documents({key: value * 0.5 for key, value in defaults().items()})[name]
    steps = {step["value"] for panel in PAGES[name]["panels"] for step in steps_of(panel)}
    changed = {step["value"] for panel in moved["panels"] for step in steps_of(panel)}
    of_defaults = set(defaults().values())
    assert steps - of_defaults <= {None, 1}, "a number of its own"
    assert not (steps & of_defaults) - {1} or steps != changed


def steps_of(panel):
    if panel["type"] == "text":
        return []
    overrides = [properties(side) for side in panel["fieldConfig"]["overrides"]]
    tables = [found["thresholds"]["steps"] for found in overrides if "thresholds" in found]
    return [*panel["fieldConfig"]["defaults"]["thresholds"]["steps"], *itertools.chain.from_iterable(tables)]


@each_panel
def test_threshold_steps_rise(pair):
    values = [step["value"] for step in steps_of(pair[1])]
    pieces = " ".join("|" if value is None else str(value) for value in values).split("|")
    for piece in pieces:
        numbers = [float(value) for value in piece.split()]
        assert numbers == sorted(set(numbers))


@each_query
def test_every_query_is_whole(asked: Asked):
    expr = substituted(asked.expr)
    assert expr.count("(") == expr.count(")")
    assert "{{" not in expr
    assert "$" not in expr
