"""Working hours and maintenance windows as Alertmanager's time intervals.

Routes only ever use `mute_time_intervals`: several of them mute when any applies, which is how "during this and not
during that" is said. (`active_time_intervals` would be active in any of them.) So each `hours` has an interval for its
outside, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from provisioning.config.hours import WEEK, Hours, minutes, parse_moment
from provisioning.config.notifications import Mute, Notifications

_DAY = 24 * 60
_FROM_SUNDAY = (WEEK[-1], *WEEK[:-1])  # as Alertmanager counts: monday:sunday is no range to it
_ONE_DAY = timedelta(days=1)
Spans = tuple[tuple[int, int], ...]
"""Minutes of a day, from and until."""


def outside(hours: str) -> str:
    """The name of the interval that is everything but these hours."""
    return f"outside {hours}"


def during(hours: str) -> str:
    """The name of the interval of these hours."""
    return f"during {hours}"


def window(mute: str) -> str:
    """The name of the interval of a mute that has a beginning and an end."""
    return f"mute {mute}"


def intervals(told: Notifications) -> list[dict[str, Any]]:
    """Every interval by name, as Alertmanager 0.25 takes it."""
    made: list[dict[str, Any]] = []
    for hours in told.hours:
        week = _week(hours)
        zone = hours.zone or told.zone
        rest = {day: _without(spans) for day, spans in week.items()}
        made.append({"name": during(hours.name), "time_intervals": list(_weekly(week, zone))})
        made.append({"name": outside(hours.name), "time_intervals": list(_weekly(rest, zone))})
    for mute in told.mutes:
        if mute.begin and mute.end:
            pieces = _dated(parse_moment(mute.begin), parse_moment(mute.end), mute.zone or told.zone)
            made.append({"name": window(mute.name), "time_intervals": list(pieces)})
    # The outside of hours that never end is no time at all, and has no interval.
    return [interval for interval in made if interval["time_intervals"]]


def holds(name: str, told: Notifications, now: datetime) -> bool:
    """Whether a moment lies in the interval of that name."""
    for hours in told.hours:
        if name in (during(hours.name), outside(hours.name)):
            return _is_in(hours, told.zone, now) == (name == during(hours.name))
    return any(_is_muted(mute, told.zone, now) for mute in told.mutes if name == window(mute.name))


def _is_in(hours: Hours, zone: str, now: datetime) -> bool:
    local = now.astimezone(ZoneInfo(hours.zone or zone))
    minute = local.hour * 60 + local.minute
    return any(begin <= minute < end for begin, end in _week(hours)[WEEK[local.weekday()]])


def _is_muted(mute: Mute, zone: str, now: datetime) -> bool:
    if not mute.begin or not mute.end:
        return False
    local = now.astimezone(ZoneInfo(mute.zone or zone)).replace(tzinfo=None)
    return parse_moment(mute.begin).replace(tzinfo=None) <= local < parse_moment(mute.end).replace(tzinfo=None)


def _week(hours: Hours) -> dict[str, Spans]:
    """The spans of each day; a night's early hours belong to the next day."""
    found: dict[str, list[tuple[int, int]]] = {day: [] for day in WEEK}
    for times in hours.times:
        begin, end = minutes(times.begin), minutes(times.end)
        for index, day in enumerate(WEEK):
            if day not in times.weekdays:
                continue
            if begin < end:
                found[day].append((begin, end))
            else:
                found[day].append((begin, _DAY))
                found[WEEK[(index + 1) % len(WEEK)]].append((0, end))
    return {day: _joined(spans) for day, spans in found.items()}


def _joined(spans: list[tuple[int, int]]) -> Spans:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)


def _without(spans: Spans) -> Spans:
    edges = [0, *(edge for span in spans for edge in span), _DAY]
    return _joined(list(zip(edges[::2], edges[1::2], strict=True)))


def _weekly(week: Mapping[str, Spans], zone: str) -> Iterator[dict[str, Any]]:
    """One interval for each run of days with the same times."""
    for spans, days in groupby(_FROM_SUNDAY, key=week.__getitem__):
        run = list(days)
        if spans:
            whole = spans == ((0, _DAY),)
            yield {
                **({} if whole else {"times": [_times(*span) for span in spans]}),
                "weekdays": [run[0] if len(run) == 1 else f"{run[0]}:{run[-1]}"],
                "location": zone,
            }


def _dated(begin: datetime, end: datetime, zone: str) -> Iterator[dict[str, Any]]:
    """One interval for each day of the calendar, whole days of a month together."""
    days: list[tuple[datetime, tuple[int, int]]] = []
    day = begin.replace(hour=0, minute=0)
    while day < end:
        first = max(begin, day)
        last = min(end, day + _ONE_DAY)
        days.append((day, (_minute(first, day), _minute(last, day))))
        day += _ONE_DAY
    for (year, month, span), run in groupby(days, key=lambda entry: (entry[0].year, entry[0].month, entry[1])):
        dates = [date.day for date, _ in run]
        yield {
            **({} if span == (0, _DAY) else {"times": [_times(*span)]}),
            "days_of_month": [str(dates[0]) if len(dates) == 1 else f"{dates[0]}:{dates[-1]}"],
            "months": [str(month)],
            "years": [str(year)],
            "location": zone,
        }


def _minute(moment: datetime, day: datetime) -> int:
    return int((moment - day).total_seconds()) // 60


def _times(begin: int, end: int) -> dict[str, str]:
    return {"start_time": f"{begin // 60:02}:{begin % 60:02}", "end_time": f"{end // 60:02}:{end % 60:02}"}
