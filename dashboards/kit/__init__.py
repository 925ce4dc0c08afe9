"""The house style: what every page and panel has, over grafanalib, pruned to what today's Grafana reads."""

from dashboards.kit.house import AMBER, GREEN, GREY, RED, Levels, above, below, plain
from dashboards.kit.links import to_alerts, to_page
from dashboards.kit.page import Page, annotation, heading, row
from dashboards.kit.panels import stat, state_timeline, text, timeseries
from dashboards.kit.states import GOOD_BAD, UP_DOWN, YES_NO, State
from dashboards.kit.tables import Column, cell, table
from dashboards.kit.targets import Query
from dashboards.kit.variables import choice

__all__ = [
    "AMBER",
    "GOOD_BAD",
    "GREEN",
    "GREY",
    "RED",
    "UP_DOWN",
    "YES_NO",
    "Column",
    "Levels",
    "Page",
    "Query",
    "State",
    "above",
    "annotation",
    "below",
    "cell",
    "choice",
    "heading",
    "plain",
    "row",
    "stat",
    "state_timeline",
    "table",
    "text",
    "timeseries",
    "to_alerts",
    "to_page",
]
