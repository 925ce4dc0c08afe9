from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from compose.backup.manifest import backups, file_name, made_at
from compose.backup.retention import superfluous

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)  # a Monday


def there(*ages: float) -> dict[Path, datetime]:
    made = [NOW - timedelta(days=age) for age in sorted(ages, reverse=True)]
    return {Path(file_name(moment)): moment for moment in made}


def gone(*ages: float, days: int = 3, weeks: int = 2, proven: str | None = None) -> set[float]:
    found = superfluous(there(*ages), NOW, days=days, weeks=weeks, proven=proven)
    return {(NOW - moment).total_seconds() / 86400 for path in found if (moment := made_at(path))}


def test_days_and_the_last_of_each_week_are_kept() -> None:
    assert gone(*range(30)) == set(range(3, 30)) - {8}
    assert gone(*range(30), weeks=4) == set(range(3, 30)) - {8, 15, 22}


def test_the_newest_stays_however_old_it_is() -> None:
    assert gone(400) == set()
    assert gone(400, 401) == {401}


def test_the_one_that_is_known_to_be_good_stays() -> None:
    proven = file_name(NOW - timedelta(days=100))
    assert gone(0, 100, 101, proven=proven) == {101}
    assert gone(0, 100, 101, proven="cluster-ai-20200101T000000Z.age") == {100, 101}


@given(st.sets(st.integers(0, 500), max_size=60), st.integers(1, 20), st.integers(1, 20))
def test_something_is_always_left_and_nothing_of_the_last_days_goes(ages: set[int], days: int, weeks: int) -> None:
    removed = gone(*ages, days=days, weeks=weeks)
    assert removed <= ages
    assert not ages or ages - removed
    assert not [age for age in removed if age < days]
    # A second look finds nothing more.
    assert gone(*(ages - removed), days=days, weeks=weeks) == set()


def test_only_finished_backups_are_backups(tmp_path: Path) -> None:
    names = ["cluster-ai-20261123T023000Z.age", "cluster-ai-20261122T023000Z.age"]
    for name in (
        *names,
        ".cluster-ai-20261124T023000Z.age.part",
        "cluster-ai-notes.age",
        "cluster-ai-20261124T023000Z.age.bak",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in backups(tmp_path)] == names[::-1]
    assert backups(tmp_path)[tmp_path / names[0]] == NOW
