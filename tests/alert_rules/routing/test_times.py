"""Hours and mutes as time intervals: what Alertmanager's fields mean is written down here once more, and compared."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.routing.times import during, holds, intervals, outside, window
from provisioning.config.hours import WEEK, Hours, Times
from provisioning.config.notifications import Mute, Notifications

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
times = st.builds(
    lambda days, begin, length: Times(days=days, begin=clock(begin), end=clock((begin + length) % 1440 or 1440)),
    st.lists(st.sampled_from([*WEEK, "weekdays", "weekend"]), min_size=1, max_size=3),
    st.integers(0, 1439),
    st.integers(1, 1439),
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def told(*hours: Hours, mutes: tuple[Mute, ...] = (), zone: str = "UTC") -> Notifications:
    return Notifications(hours=list(hours), mutes=list(mutes), zone=zone)


def in_interval(name: str, notifications: Notifications, now: datetime) -> bool:
    """Alertmanager's `timeinterval.ContainsTime`, from its documentation."""
    found = {entry["name"]: entry["time_intervals"] for entry in intervals(notifications)}
    return any(_contains(piece, now) for piece in found.get(name, ()))


def _contains(piece: dict[str, Any], now: datetime) -> bool:
    local = now.astimezone(ZoneInfo(piece["location"]))
    minute = local.hour * 60 + local.minute
    spans = [(_minutes(span["start_time"]), _minutes(span["end_time"])) for span in piece.get("times", ())]
    days = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
    checks = (
        ("weekdays", (local.weekday() + 1) % 7, days.index),
        ("days_of_month", local.day, int),
        ("months", local.month, int),
        ("years", local.year, int),
    )
    return (not spans or any(begin <= minute < end for begin, end in spans)) and all(
        key not in piece or any(_within(text, value, read) for text in piece[key]) for key, value, read in checks
    )


def _within(text: str, value: int, read: Any) -> bool:
    first, _, last = text.partition(":")
    low, high = read(first), read(last or first)
    assert low <= high, f"Alertmanager takes no {text}"
    return low <= value <= high


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


@given(st.lists(times, min_size=1, max_size=3), moments)
def test_every_moment_is_either_within_hours_or_outside(spans: list[Times], now: datetime) -> None:
    notifications = told(Hours(name="h", times=spans, zone=None))
    inside = in_interval(during("h"), notifications, now)
    assert inside != in_interval(outside("h"), notifications, now)
    assert inside == holds(during("h"), notifications, now)
    assert inside != holds(outside("h"), notifications, now)


@pytest.mark.parametrize(
    ("spans", "day", "minute", "inside"),
    [
        ([Times(days=["monday"], begin="09:00", end="18:00")], 0, "08:59", False),
        ([Times(days=["monday"], begin="09:00", end="18:00")], 0, "09:00", True),
        ([Times(days=["monday"], begin="09:00", end="18:00")], 0, "18:00", False),
        ([Times(days=["monday"], begin="09:00", end="18:00")], 1, "12:00", False),
        ([Times(days=["monday"], begin="22:00", end="06:00")], 1, "05:59", True),
        ([Times(days=["monday"], begin="22:00", end="06:00")], 0, "05:59", False),
        ([Times(days=["sunday"], begin="22:00", end="06:00")], 0, "03:00", True),
        ([Times(days=["weekend"])], 5, "00:00", True),
        ([Times(days=["weekend"])], 6, "23:59", True),
        ([Times(days=["weekend"])], 4, "23:59", False),
        ([Times(days=["friday"], begin="12:00", end="24:00")], 4, "23:59", True),
        (
            [Times(days=["friday"], begin="12:00", end="13:00"), Times(days=["friday"], begin="14:00")],
            4,
            "13:30",
            False,
        ),
    ],
)
def test_hours_as_people_mean_them(spans: list[Times], day: int, minute: str, inside: bool) -> None:
    now = MONDAY + timedelta(days=day, minutes=_minutes(minute))
    notifications = told(Hours(name="h", times=spans, zone=None))
    assert in_interval(during("h"), notifications, now) is inside
    assert holds(during("h"), notifications, now) is inside


def test_hours_have_the_zone_they_name_or_else_everybodys() -> None:
    office = [Times(days=["monday"], begin="09:00", end="18:00")]
    notifications = told(
        Hours(name="here", times=office, zone=None),
        Hours(name="there", times=office, zone="Asia/Tokyo"),
        zone="America/Sao_Paulo",
    )
    # Monday 11:00 in UTC is 08:00 in São Paulo and 20:00 in Tokyo.
    assert not holds(during("here"), notifications, MONDAY + timedelta(hours=11))
    assert holds(during("here"), notifications, MONDAY + timedelta(hours=12))
    assert holds(during("there"), notifications, MONDAY + timedelta(hours=8, minutes=59))
    assert not holds(during("there"), notifications, MONDAY + timedelta(hours=9))


def test_hours_that_never_end_have_no_outside() -> None:
    assert [entry["name"] for entry in intervals(told(Hours(name="h", times=[Times()], zone=None)))] == ["during h"]


@given(moments, st.integers(1, 60 * 24 * 70), moments)
def test_a_mute_lasts_from_its_beginning_to_its_end(begin: datetime, length: int, now: datetime) -> None:
    begin = begin.replace(second=0, microsecond=0)
    end = begin + timedelta(minutes=length)
    mute = Mute(name="m", begin=f"{begin:%Y-%m-%d %H:%M}", end=f"{end:%Y-%m-%d %H:%M}")
    notifications = told(mutes=(mute,))
    for moment in (
        now,
        begin,
        end,
        begin - timedelta(minutes=1),
        end - timedelta(minutes=1),
        begin + (end - begin) / 2,
    ):
        expected = begin <= moment < end
        assert in_interval(window("m"), notifications, moment) == expected
        assert holds(window("m"), notifications, moment) == expected


def test_a_long_mute_takes_one_interval_a_month() -> None:
    mute = Mute(name="m", begin="2026-12-24 22:00", end="2027-03-02 06:00")
    (found,) = intervals(told(mutes=(mute,)))
    days = [
        (piece["years"], piece["months"], piece["days_of_month"], "times" in piece) for piece in found["time_intervals"]
    ]
    assert days == [
        (["2026"], ["12"], ["24"], True),
        (["2026"], ["12"], ["25:31"], False),
        (["2027"], ["1"], ["1:31"], False),
        (["2027"], ["2"], [f"1:{calendar.monthrange(2027, 2)[1]}"], False),
        (["2027"], ["3"], ["1"], False),
        (["2027"], ["3"], ["2"], True),
    ]
