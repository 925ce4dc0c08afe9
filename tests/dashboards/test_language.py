"""The pages in another language: every text said, none left over, and nothing else changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from alert_rules import runbooks
from dashboards.build import documents
from dashboards.kit import Column, table
from dashboards.kit.language import ENGLISH, LANGUAGES, catalogue, say, spoken
from provisioning.config.grafana import Grafana
from provisioning.config.model import Config
from provisioning.config.targets import Targets
from provisioning.render import pages
from tests.dashboards.reading import PAGES

OTHERS = [language for language in LANGUAGES if language != ENGLISH]
each_language = pytest.mark.parametrize("language", OTHERS)


class Asking(Mapping[str, str]):
    """A catalogue that remembers what it was asked for."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        self.asked: set[str] = set()
        self._messages = messages

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return self._messages.get(key, default)

    def __getitem__(self, key: str) -> str:
        return self._messages[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)


def test_the_languages_are_those_of_the_configuration():
    assert set(LANGUAGES) == set(Grafana.model_fields["language"].annotation.__args__)


@each_language
def test_no_message_is_missing_and_none_is_left_over(language, monkeypatch):
    asking = Asking(catalogue(language))
    monkeypatch.setattr("dashboards.build.catalogue", lambda _language: asking)
    documents(language=language, logs=True)
    alerts = set(runbooks.names())  # titles of the runbooks, which are in English
    assert asking.asked - set(asking) - alerts == set(), f"say these in dashboards/texts/{language}.yml"
    assert set(asking) - asking.asked == set(), f"nobody asks for these in dashboards/texts/{language}.yml any more"


@each_language
def test_a_message_keeps_what_is_filled_in_and_fits_into_a_query(language):
    for english, said in catalogue(language).items():
        assert sorted(re.findall(r"\{\{\w+\}\}", english)) == sorted(re.findall(r"\{\{\w+\}\}", said)), english
        assert not re.search(r'["\\]', said), english
        assert sorted(re.findall(r"\]\((\S+)\)", english)) == sorted(re.findall(r"\]\((\S+)\)", said))


@each_language
def test_the_pages_are_the_same_but_for_their_words(language):
    other = documents(language=language)
    for name, page in PAGES.items():
        assert shape(other[name]) == shape(page), name
    for name in set(PAGES) - {"runbooks"}:
        kept = [panel["description"] for panel in PAGES[name]["panels"] if panel.get("description")]
        said = [panel["description"] for panel in other[name]["panels"] if panel.get("description")]
        assert not set(kept) & set(said)


def shape(data: Any) -> Any:
    """What is not a text: kinds, places, units, and the series that are asked for."""
    if isinstance(data, dict):
        kept = {key: value for key, value in data.items() if key not in ("renameByName", "indexByName")}
        kept |= {"unit": shape_of_unit(kept["unit"])} if isinstance(kept.get("unit"), str) else {}
        return {
            key: shape(value) for key, value in kept.items() if not isinstance(value, str) or key in ("type", "unit")
        }
    return [shape(value) for value in data if not isinstance(value, str)] if isinstance(data, list) else data


def shape_of_unit(unit: str) -> str:
    """A unit of Grafana's as it is; of our own, such as `suffix: days`, its kind."""
    return unit.partition(": ")[0]


@each_language
def test_words_after_a_number_are_said(language):
    """Grafana speaks its own units; it knows nothing of ours."""

    def ours(made: Mapping[str, Any]) -> set[str]:
        units = re.findall(r'"unit": "((?:suffix|prefix): [^"]+)"', json.dumps(made))
        return set(units)

    english, said = ours(PAGES), ours(documents(language=language))
    assert len(english) == len(said) > 1
    assert not english & said


@each_language
def test_titles_of_columns_stay_apart(language):
    """A table joins columns by their titles: two with the same one would be one."""
    for name, page in documents(language=language).items():
        for panel in page["panels"]:
            if panel["type"] == "table":
                titles = list(panel["transformations"][1]["options"]["renameByName"].values())
                assert len(set(titles)) == len(titles), (name, panel["title"])


def test_a_message_that_the_catalogue_lacks_is_said_in_english():
    with spoken({"Workers": "Trabalhadores"}):
        assert (say("Workers"), say("Tasks"), say("{{target}}: ")) == ("Trabalhadores", "Tasks", "{{target}}: ")
    assert say("Workers") == "Workers"


def test_an_installation_has_the_language_it_names():
    config = Config(targets=Targets(), grafana=Grafana(language="pt"))
    assert json.loads(pages.texts(config, "cluster-ai.yml")["dashboard.json"])["title"] == "Painel"


def test_a_column_whose_title_has_no_capital_is_said_too():
    columns = [Column(title="Alert", field="alertname"), Column(title="30 days", query="fired")]
    with spoken({"30 days": "30 dias"}):
        made = table("A", description="d", columns=columns, empty="none", sort="30 days")
    assert made.transformations[1]["options"]["renameByName"] == {"alertname": "Alert", "Value": "30 dias"}
