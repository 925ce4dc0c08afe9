"""Every alert fires, stays silent just below, and survives that its series are gone."""

from __future__ import annotations

import re

import pytest

from alert_rules.catalogue import named
from tests.rules.cases import FOLDER, Case, cases, read
from tests.rules.promtool import Fired, run

ALL = list(cases())
pytestmark = pytest.mark.timeout(360)  # the first case of a file runs all of them


@pytest.fixture(scope="session")
def fired(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Fired]]]:
    """What fired, by file; a file is run when its first case is asked for."""
    return {}


@pytest.mark.parametrize("case", ALL, ids=str)
def test_case(case: Case, fired: dict[str, dict[str, list[Fired]]], tmp_path_factory: pytest.TempPathFactory) -> None:
    if case.file not in fired:
        fired[case.file] = run(read(FOLDER / f"{case.file}.yml"), tmp_path_factory.mktemp(case.file))
    found = fired[case.file][str(case)]
    mine = [alert for alert in found if alert.name == case.alert]
    if case.labels is None:
        assert not mine
        return
    about = named(case.alert)
    expected = {"alertname": case.alert, "severity": about.severity, "system": about.system, **case.labels}
    assert [alert.labels for alert in mine] == [expected]
    assert set(case.labels) == set(about.labels)
    said = mine[0].annotations
    assert not re.search(r"<no value>|<error|NaN|%!", " ".join(said.values())), said
    assert said["dashboard_url"].startswith("http://127.0.0.1:3001/d/cluster-ai-")
    if case.summary:
        assert said["summary"] == case.summary
    assert {alert.name for alert in found} == {case.alert, *case.also}
