"""Many tiles that stand together ask by one request, which costs Grafana and the browser little more than one tile's.

The first tile asks for all of them, and each shows its own part of the answer: Grafana's data source `-- Dashboard --`
hands one panel's answer to another. That is worth it from where they would ask in more than one round: a browser sends
six requests at a time where there is no HTTP/2. Fewer tiles ask for themselves, so that a query that fails is marked on
its own tile alone and Explore opens with it.
"""

from __future__ import annotations

from itertools import groupby
from string import ascii_uppercase
from typing import Any

AT_ONCE = 6
"""Requests that a browser has under way to one host: Chromium's and Firefox's limit for HTTP/1.1."""
SHARED = {"type": "datasource", "uid": "-- Dashboard --"}


def share(page: dict[str, Any]) -> dict[str, Any]:
    """The page, whose tiles are joined where more than AT_ONCE follow each other; it is changed.

    Raises ValueError for more queries in one place than there are letters to name them.
    """
    for kind, following in groupby(page["panels"], key=lambda panel: panel["type"]):
        tiles = list(following)
        if kind == "stat" and len(tiles) > AT_ONCE:
            _join(tiles)
    return page


def _join(tiles: list[dict[str, Any]]) -> None:
    asked = [target for tile in tiles for target in tile["targets"]]
    for target, letter in zip(asked, ascii_uppercase[: len(asked)], strict=True):
        target["refId"] = letter
    first = tiles[0]
    for tile in tiles:
        own = "|".join(target["refId"] for target in tile["targets"])
        tile["transformations"] = [{"id": "filterByRefId", "options": {"include": f"/^(?:{own})$/"}}]
        if tile is not first:
            tile["datasource"] = SHARED
            tile["targets"] = [{"datasource": SHARED, "panelId": first["id"], "refId": "A"}]
    first["targets"] = asked
