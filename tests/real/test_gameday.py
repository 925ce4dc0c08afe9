"""A handful of the game day's faults, on real systems: each is told to the right people, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gameday.day import play
from tests.gameday.report import line
from tests.gameday.scenario import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(420)]


async def test_faults_reach_the_right_people_once(tmp_path: Path) -> None:
    said: list[str] = []
    names = [scenario.name for scenario in load().scenarios if scenario.fast]
    day = await play(tmp_path, names, said.append)
    played = [one for one in day.results if not one.skipped]
    assert len(played) >= 2, said
    assert [line(one) for one in played if not one.good] == []
