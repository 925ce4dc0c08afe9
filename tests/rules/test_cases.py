"""Every alert fires, stays silent just below, and survives that its series are gone."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from alert_rules.catalogue import named
from tests.rules.cases import FOLDER, Case, cases, read
from tests.rules.promtool import Fired, run

ALL = list(cases())
pytestmark = pytest.mark.timeout(360)  # the first case of a file runs all of them


@cache
def fired(file: str) -> dict[str, list[Fired]] | AssertionError:
    """What fired in each case of a file, which is run once, when the first of them is asked for."""
    with TemporaryDirectory() as folder:
        try:
            return run(read(FOLDER / f"{file}.yml"), Path(folder))
        except AssertionError as error:
            return error


@pytest.mark.parametrize("case", ALL, ids=str)
def test_case(case: Case):
    outcome = fired(case.file)
    if isinstance(outcome, AssertionError):
        raise outcome
    found = outcome[str(case)]
    names = {alert.name for alert in found}
    if case.labels is None:
        assert case.alert not in names
        assert case.alert or names <= set(case.also)
        return
    mine = [alert for alert in found if alert.name == case.alert]
    about = named(case.alert)
    expected = {"alertname": case.alert, "severity": about.severity, "system": about.system, **case.labels}
    assert [alert.labels for alert in mine] == [expected]
    assert set(case.labels) == set(about.labels)
    said = mine[0].annotations
    assert not re.search(r"<no value>|<error|NaN|%!", " ".join(said.values())), said
    assert said["dashboard_url"].startswith("http://127.0.0.1:3001/d/cluster-ai-")
    if case.summary:
        assert said["summary"] == case.summary
    assert names == {case.alert, *case.also}
