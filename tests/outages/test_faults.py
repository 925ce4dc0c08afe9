"""The list of faults is what it should be before anything is started."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from alert_rules import catalogue
from tests.outages.__main__ import chosen
from tests.outages.faults import Faults, load
from tests.outages.stack import PARTS

GOOD = {"name": "one", "break": {"gone": {"parts": ["nginx"]}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"break": {"gon": {}}}, "no way is called 'gon'; there are "),
        ({"break": {"gone": {"part": "nginx"}}}, "gone: missing a required argument: 'parts'"),
        ({"break": {}}, "at least 1 item"),
        ({"needs": ["luck"]}, "Input should be"),
        ({"color": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_fault_is_refused_with_the_reason(changes: dict[str, object], message: str) -> None:
    assert Faults.model_validate({"faults": [GOOD]})
    with pytest.raises(ValidationError, match=message):
        Faults.model_validate({"faults": [GOOD | changes]})


def test_a_name_stands_for_one_fault() -> None:
    with pytest.raises(ValidationError, match="twice: one"):
        Faults.model_validate({"faults": [GOOD, GOOD]})


def test_every_alert_and_part_exists() -> None:
    known = {alert.name for alert in catalogue.alerts()}
    for fault in load():
        assert {fault.alert, *fault.beside, *fault.perhaps} - {None} <= known, fault.name
        for parameters in fault.way.values():
            assert set(parameters.get("parts", ())) <= set(PARTS), fault.name


def test_every_part_is_killed_once() -> None:
    killed = {part for fault in load() for way in fault.way.values() for part in way.get("parts", ())}
    assert killed == set(PARTS) - {"node-exporter"}, "that one is not of this stack, it is the machine's"


def test_faults_are_chosen_by_name() -> None:
    assert [fault.name for fault in chosen(["redis-gone", "nginx-killed"])] == ["nginx-killed", "redis-gone"]
    assert chosen([]) == load()
    with pytest.raises(Exception, match="no fault is called nothing"):
        chosen(["nothing"])
