"""The list of scenarios is what it should be before anything is started."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from alert_rules import catalogue
from tests.gameday.scenario import Scenarios, load

GOOD = {
    "name": "one",
    "system": "dask",
    "break": [{"kill": {"process": "dask-a.scheduler"}}],
    "alert": "DaskSchedulerDown",
    "told": "page",
}


def listed(**changes: object) -> Scenarios:
    audiences = {"nobody": {}, "page": {"ana": ["mail", "sms"]}}
    return Scenarios.model_validate({"audiences": audiences, "scenarios": [GOOD | changes]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"break": [{"kil": {}}]}, "no action is called 'kil'; there are "),
        ({"break": [{"kill": {"proces": "x"}}]}, "kill: missing a required argument: 'process'"),
        ({"told": "everybody"}, "no audience is called 'everybody'"),
        ({"alert": None}, "nobody can be told without an alert"),
        ({"color": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_scenario_is_refused_with_the_reason(changes: dict[str, object], message: str) -> None:
    assert listed()
    with pytest.raises(ValidationError, match=message):
        listed(**changes)


def test_every_alert_that_is_expected_exists() -> None:
    known = {alert.name: alert for alert in catalogue.alerts()}
    for scenario in load().scenarios:
        for name in (scenario.alert, *scenario.beside):
            assert name is None or name in known, f"{scenario.name}: no alert is called {name}"
