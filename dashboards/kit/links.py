"""Links between pages. Each keeps the time and what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from dashboards.kit.house import TAG, UID_PREFIX
from dashboards.kit.language import say

Links = Sequence[dict[str, Any]]

MAIN = {
    "dashboard": "Dashboard",
    "system": "System",
    "workers": "Workers",
    "alerts": "Alerts",
    "settings": "Settings",
}
"""The five pages everybody sees at the top of each page, in the order of their questions."""
DETAIL_TAG = f"{TAG}-detail"
_GRAFANAS = '${}:._[]"'  # signs of what Grafana fills in


def to_page(uid: str, title: str, **variables: str) -> dict[str, Any]:
    """A link of a panel or a cell to page `uid`, which sees `variables` as chosen (Grafana's `${...}` may be used).

    Without variables, all that are chosen on this page go along.
    """
    url = f"/d/{UID_PREFIX}{uid}?${{__url_time_range}}"
    if variables:
        url += "&var-datasource=${datasource}"
        url += "".join(f"&var-{name}={quote(value, safe=_GRAFANAS)}" for name, value in variables.items())
    else:
        url += "&${__all_variables}"
    return {"title": say(title), "url": url, "targetBlank": False}


def to_alerts(*names: str) -> list[dict[str, Any]]:
    """Links of a panel to the alerts that watch what it shows: whether each fires, how often it did, its runbook."""
    return [{**to_page("alerts", "Alert", alert=name), "title": f"{say('Alert')}: {name}"} for name in names]


def navigation() -> list[dict[str, Any]]:
    """The links at the top of every page: the five, then a list of the rest."""
    links = [
        {**_LINK, "type": "link", "title": say(title), "url": f"/d/{UID_PREFIX}{uid}", "tags": []}
        for uid, title in MAIN.items()
    ]
    more = {**_LINK, "type": "dashboards", "title": say("More"), "tags": [DETAIL_TAG], "asDropdown": True, "url": ""}
    return [*links, more]


_LINK = {"icon": "", "tooltip": "", "asDropdown": False, "includeVars": True, "keepTime": True} | {"targetBlank": False}
