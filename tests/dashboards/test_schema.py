"""Grafana's own SDK as the oracle: what it does not give back of a page is not in the schema, and does nothing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dashboards.reading import PAGES

with warnings.catch_warnings():
    # It calls schema 42 old, which is the one that provisioning by file takes.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:grafana_foundation_sdk")


@pytest.mark.parametrize("name", PAGES)
def test_a_round_trip_loses_and_changes_nothing(name):
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(PAGES[name])))))
    assert list(lost(PAGES[name], again, name)) == []


def test_the_oracle_sees_what_the_schema_lacks():
    page = {**PAGES["dashboard"], "sharedCrosshair": True}
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(page)))
    assert list(lost(page, again, "")) == [".sharedCrosshair is lost"]


def lost(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """What was there before and is not, or is another, after. The SDK may write out defaults that we leave unsaid."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from lost(value, theirs[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is lost"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{where}[{index}]")
    elif ours != theirs:
        yield f"{where} is {ours!r} before and {theirs!r} after"
