"""Nothing is missing: every alert has its cases and its runbook, every name is exposed, every link leads to a page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from alert_rules import links, runbooks
from alert_rules.catalogue import alerts
from alert_rules.render import rules, templates
from alert_rules.thresholds import defaults
from dashboards.build import documents
from provisioning.config.model import Config
from provisioning.config.targets import DaskTarget, Targets
from tests.rules.cases import KINDS, cases
from tests.rules.promtool import metrics
from tests.rules.recordings import TESTS, names
from tests.tools import tool

ALERTS = alerts()
RULES = rules(Config(targets=Targets(dask=[DaskTarget(name="main", scheduler="tcp://10.0.0.5:8786")])))
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
# Made by Prometheus itself.
_ITS_OWN = frozenset({"ALERTS", "ALERTS_FOR_STATE", "up", "scrape_duration_seconds", "scrape_samples_scraped"})


def exposed() -> frozenset[str]:
    """Every metric of the recordings, and those that rules record."""
    pages = [path.relative_to(TESTS).as_posix() for path in TESTS.glob("golden/*/*.txt")]
    pages += [path.relative_to(TESTS).as_posix() for path in TESTS.glob("fixtures/native/*.txt")]
    recorded = re.findall(r"^ *- record: (\S+)$", "\n".join(RULES.values()), re.MULTILINE)
    return frozenset().union(*(names(page) for page in pages), recorded, _ITS_OWN)


def test_names_are_unique():
    named = [alert.name for alert in ALERTS]
    assert sorted(set(named)) == sorted(named)
    assert len({runbooks.panel_id(name) for name in named}) == len(named)


@each_alert
def test_every_alert_has_its_three_cases(alert):
    assert {case.kind for case in cases() if case.alert == alert.name} == set(KINDS)


@each_alert
def test_every_alert_has_a_runbook(alert):
    assert not runbooks.problems(alert.name)


@each_alert
def test_a_runbook_gives_commands(alert):
    diagnosis = runbooks.text(alert.name).partition("## Diagnosis")[2].partition("## Mitigation")[0]
    assert re.search(r"```|`[^`]+`", diagnosis)


@each_alert
def test_texts_are_for_people(alert):
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", alert.name)
    assert len(alert.summary) < 160
    assert not alert.summary.endswith(".")
    assert alert.description.endswith((".", "}}", "`")), "the description is whole sentences"
    assert alert.description != alert.summary


def test_no_runbook_or_case_is_left_over():
    named = {alert.name for alert in ALERTS}
    assert set(runbooks.names()) <= named
    assert {case.alert for case in cases() if case.alert} <= named


@pytest.mark.parametrize("file", sorted(RULES))
def test_every_name_is_exposed(file):
    assert metrics(RULES[file]) - exposed() == set()


@pytest.mark.parametrize("file", sorted(RULES))
def test_those_that_wake_somebody_are_evaluated_every_five_seconds(file):
    for group in yaml.safe_load(RULES[file])["groups"]:
        severe = {rule["labels"]["severity"] == "critical" for rule in group["rules"] if "alert" in rule}
        assert len(severe) <= 1, group["name"]
        if severe == {True}:
            assert group["interval"] == "5s"
        elif severe:
            assert group["interval"] == "15s"


def test_promtool_takes_every_rule(tmp_path: Path):
    for name, text in RULES.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [tool("promtool"), "check", "rules", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    assert "duplicate" not in done.stdout, done.stdout


def test_every_threshold_is_recorded_and_every_recorded_one_is_a_threshold():
    recorded = re.findall(r"record: cluster_ai:threshold:(\w+)$", RULES["recording.yml"], re.MULTILINE)
    assert recorded == list(defaults())


def test_links_choose_what_their_pages_offer():
    for page, document in documents().items():
        offered = {variable["name"] for variable in document["templating"]["list"]}
        assert set(links.PAGES.get(page, {})) <= offered, page
    assert set(links.PAGES) <= {document["uid"].removeprefix("cluster-ai-") for document in documents().values()}


def test_every_template_has_a_file_of_its_own():
    assert {f"{name}.yml" for name in templates()} <= set(RULES)
