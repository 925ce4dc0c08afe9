"""What is said of a fault, from what was seen."""

from __future__ import annotations

import pytest

from tests.outages.faults import Fault
from tests.outages.judging import Answer, Firing, Seen, row, wrong
from tests.outages.watching import Alerts

BROKEN, MENDED = 100.0, 130.0
GOOD = Answer(BROKEN + 1, 0.1, "200")
BAD = Answer(MENDED + 3, 0.1, "502")
DOWN, BESIDE = "MonitoringDoorDown", "MonitoringDoorErrors"
FIRED = Firing(BROKEN + 12, MENDED + 8)


def fault(**changes: object) -> Fault:
    return Fault.model_validate({"name": "one", "break": {"gone": {"parts": ["nginx"]}}} | changes)


def seen(*answers: Answer, lost: tuple[str, ...] = (), **alerts: Firing) -> Seen:
    return Seen(broken=BROKEN, mended=MENDED, answers=answers, alerts=alerts, lost=lost)


@pytest.mark.parametrize(
    ("says", "came"),
    [
        ({"unnoticed": True}, seen(GOOD)),
        ({"back_within": 3}, seen(GOOD, BAD)),
        ({"alert": DOWN, "fires_within": 10}, seen(GOOD, **{DOWN: FIRED})),
        ({"alert": DOWN, "beside": [BESIDE]}, seen(GOOD, **{DOWN: FIRED, BESIDE: FIRED})),
        ({"perhaps": [BESIDE]}, seen(GOOD, **{BESIDE: FIRED})),
        ({"perhaps": [BESIDE]}, seen(GOOD)),
    ],
)
def test_nothing_is_said_of_what_is_as_it_should_be(says: dict[str, object], came: Seen) -> None:
    assert wrong(fault(**says), came, 10) == []


@pytest.mark.parametrize(
    ("says", "came", "words"),
    [
        ({"unnoticed": True}, seen(GOOD, BAD), "visitors noticed: 502 (1)"),
        ({"back_within": 2}, seen(GOOD, BAD), "all were good 3.0 s after the mending, not within 2 s"),
        ({}, seen(), "no visitor had a good answer"),
        ({"waits": 2}, seen(GOOD, Answer(110, 2.5, "200")), "somebody waited 2.5 s for an answer, more than 2 s"),
        ({"alert": DOWN}, seen(GOOD), f"{DOWN} did not fire"),
        (
            {"alert": DOWN, "fires_within": 10},
            seen(GOOD, **{DOWN: Firing(BROKEN + 17, MENDED)}),
            f"{DOWN} fired after 17 s, not within 16 s",
        ),
        ({"alert": DOWN}, seen(GOOD, **{DOWN: Firing(BROKEN + 1)}), f"{DOWN} did not end"),
        (
            {"alert": DOWN, "ends_within": 10},
            seen(GOOD, **{DOWN: Firing(BROKEN + 1, MENDED + 20)}),
            f"{DOWN} ended 20 s after the mending, not within 16 s",
        ),
        ({}, seen(GOOD, **{BESIDE: FIRED}), f"{BESIDE} fired"),
        ({}, seen(GOOD, lost=("a session",)), "lost: a session"),
    ],
)
def test_each_difference_is_said(says: dict[str, object], came: Seen, words: str) -> None:
    assert wrong(fault(**says), came, 10) == [words]


def test_at_productions_own_pace_no_alert_is_excused_by_the_clock() -> None:
    assert wrong(fault(perhaps=[BESIDE]), seen(GOOD, **{BESIDE: FIRED}), 1) == [f"{BESIDE} fired"]


def test_the_row_tells_all_of_it() -> None:
    came = seen(GOOD, BAD, BAD, lost=("a silence",), **{DOWN: FIRED})
    assert row(fault(), came, ["lost: a silence"]) == (
        "| one | 502 (2) in 3 answers | 33.0 s | 3.0 s | 0.1 s "
        f"| {DOWN} after 12 s, ended 8 s after the mending | a silence | lost: a silence |"
    )
    assert row(fault(), seen(GOOD), []) == (
        "| one | nothing in 1 answers |  |  | 0.1 s | none | nothing | as it should be |"
    )


class Page(Alerts):
    """What Prometheus says, without one."""

    def __init__(self) -> None:
        self._firing, self._waiting, self._looked = {}, set(), 0.0

    def says(self, now: float, **states: str) -> None:
        self._take([{"labels": {"alertname": name}, "state": state} for name, state in states.items()], now)


def test_an_alert_is_followed_from_its_beginning_to_its_end() -> None:
    page = Page()
    page.says(1, **{DOWN: "pending", "Watchdog": "firing", "OllamaDown": "firing"})
    assert page.seen == {}
    assert not page.calm_since(0), "one is about to fire"
    page.says(2, **{DOWN: "firing"})
    page.says(3, **{DOWN: "firing"})
    assert page.seen == {DOWN: Firing(2)}
    assert page.fires(DOWN)
    assert not page.calm_since(0)
    page.says(4, Watchdog="firing")
    assert page.seen == {DOWN: Firing(2, 4)}
    assert page.calm_since(3)
    assert not page.calm_since(5), "nobody has looked since"
    page.says(6, **{DOWN: "firing"})
    assert page.seen == {DOWN: Firing(2)}, "an alert that comes again has not ended"
    page.begin()
    assert page.seen == {}
