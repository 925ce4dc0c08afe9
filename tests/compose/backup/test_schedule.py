from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from compose.backup.schedule import backup_is_due, check_is_due
from provisioning.config.production import Backup

NIGHTLY = Backup(at="02:30", check="sunday")


def at(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("made", "now", "due"),
    [
        (None, "2026-11-23 12:00", True),
        ("2026-11-23 02:30", "2026-11-23 02:31", False),
        ("2026-11-22 02:31", "2026-11-23 02:29", False),
        ("2026-11-22 02:31", "2026-11-23 02:30", True),
        ("2026-11-22 23:00", "2026-11-23 02:30", True),  # one by hand in the evening is not the night's
        ("2026-11-23 03:00", "2026-11-24 02:29", False),
        ("2026-11-20 02:30", "2026-11-23 17:00", True),  # it was off
        ("2027-11-23 02:30", "2026-11-23 12:00", True),  # a clock that was wrong made that one
    ],
)
def test_when_a_backup_is_due(made: str | None, now: str, due: bool) -> None:
    assert backup_is_due(NIGHTLY, [at(made)] if made else [], at(now)) is due


@pytest.mark.parametrize(
    ("tested", "now", "due"),
    [
        (None, "2026-11-23 12:00", True),
        ("2026-11-22 02:31", "2026-11-28 23:59", False),  # a Sunday's, on Saturday
        ("2026-11-22 02:31", "2026-11-29 02:29", False),
        ("2026-11-22 02:31", "2026-11-29 02:30", True),
        ("2026-11-25 12:00", "2026-11-29 02:30", True),  # by hand in between
        ("2026-11-15 02:31", "2026-11-24 09:00", True),  # it was off on Sunday
    ],
)
def test_when_a_test_is_due(tested: str | None, now: str, due: bool) -> None:
    when = at(tested) if tested else None
    assert check_is_due(NIGHTLY, when, [at("2026-11-22 02:30")], at(now)) is due


def test_where_there_is_no_backup_there_is_nothing_to_test() -> None:
    assert not check_is_due(NIGHTLY, None, [], at("2026-11-23 12:00"))


def test_the_time_is_utc_wherever_one_is() -> None:
    here = timezone(timedelta(hours=-3))
    now = datetime(2026, 11, 22, 23, 30, tzinfo=here)  # 02:30 of the next day in UTC
    assert backup_is_due(NIGHTLY, [at("2026-11-22 02:30")], now)
    assert not backup_is_due(NIGHTLY, [at("2026-11-22 02:30")], now - timedelta(minutes=1))
