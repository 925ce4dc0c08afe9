"""The page of logs, which asks Loki and is there only where logs are kept."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from dashboards.build import LOGS, documents
from dashboards.kit.house import DATASOURCE, LOKI
from provisioning.config.model import Config
from provisioning.config.production import Production
from provisioning.config.targets import Targets
from provisioning.render import pages
from provisioning.render.logs import LABELS, LOKI_UID
from tests.dashboards.reading import PAGES
from tests.dashboards.test_schema import lost

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

PAGE = documents(logs=True)[LOGS]
PANELS: list[dict[str, Any]] = PAGE["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_it_is_there_only_where_logs_are_kept():
    def texts(production: Production | None) -> set[str]:
        return set(pages.texts(Config(targets=Targets(), production=production), "cluster-ai.yml"))

    assert "logs.json" not in texts(None)
    assert "logs.json" not in texts(Production(domain="monitoring.example.org"))
    assert "logs.json" in texts(Production(domain="monitoring.example.org", logs=True))


def test_it_asks_the_data_source_that_is_provisioned():
    assert LOKI["uid"] == LOKI_UID
    for panel in PANELS:
        assert panel["datasource"] == LOKI
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {LOKI_UID}
    assert PAGE["templating"]["list"][0]["query"] == "prometheus", "its marks are alerts and restarts"
    assert all(mark.get("datasource") in (None, DATASOURCE) for mark in PAGE["annotations"]["list"][1:])


def test_every_panel_says_what_good_looks_like_and_why_it_is_empty():
    for panel in PANELS:
        assert len(panel["description"]) > 40
        assert panel["fieldConfig"]["defaults"]["noValue"]


@pytest.mark.parametrize("query", QUERIES)
def test_lines_are_found_by_the_labels_that_they_have(query: str):
    [selector] = re.findall(r"{(.*?)}", query.partition("|")[0].partition(" [")[0])
    assert set(re.findall(r"(\w+)=", selector)) <= set(LABELS)


def test_services_and_a_text_can_be_chosen():
    there = {variable["name"]: variable for variable in PAGE["templating"]["list"]}
    assert there["service"]["datasource"] == LOKI
    assert there["text"]["type"] == "textbox"
    assert there["text"]["current"]["value"] == ""
    used = set(re.findall(r"\$\{?(\w+)", " ".join(QUERIES))) - {"__auto"}
    assert used == {"service", "text"}


def test_what_is_searched_for_is_a_text_and_no_pattern():
    assert "`(?i)${text:regex}`" in QUERIES[-1]


def test_it_is_reached_from_every_page_by_its_tag():
    assert set(PAGE["tags"]) == set(PAGES["dask"]["tags"])
    assert PAGE["title"] not in {page["title"] for page in PAGES.values()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:grafana_foundation_sdk")
def test_a_round_trip_loses_and_changes_nothing():
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(PAGE)))))
    assert list(lost(PAGE, again, LOGS)) == []


def test_the_committed_page_is_this_one():
    file = Path(__file__).parents[2] / "dashboards/json/logs.json"
    assert json.loads(file.read_text()) == PAGE
