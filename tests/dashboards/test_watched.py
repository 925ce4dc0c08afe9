"""Panels and the alerts that watch them."""

from __future__ import annotations

import pytest

from alert_rules.catalogue import alerts
from dashboards.pages.watched import WATCHED
from tests.dashboards.reading import PAGES

NAMES = {alert.name for alert in alerts()}


def linked(panel):
    return {link["url"].partition("var-alert=")[2] for link in panel.get("links", ())} - {""}


@pytest.mark.parametrize("name", WATCHED)
def test_each_panel_that_is_watched_links_to_its_alerts(name):
    panels = {panel["title"]: linked(panel) for panel in PAGES[name]["panels"]}
    assert {title: set(names) for title, names in WATCHED[name].items()} == {
        title: panels[title] for title in WATCHED[name]
    }
    assert set().union(*panels.values()) <= NAMES


def test_every_alert_has_a_panel_that_leads_to_it_on_the_page_that_shows_its_cause():
    """The Watchdog watches nothing that could be drawn."""
    without = [
        alert.name
        for alert in alerts()
        if alert.name != "Watchdog"
        and alert.name not in set().union(*(linked(panel) for panel in PAGES[alert.page]["panels"]))
    ]
    assert without == [], "name them in dashboards/pages/watched.py"
