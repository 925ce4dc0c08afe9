"""Working hours and maintenance windows, as people write them."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from provisioning.config.basics import MOMENT_PATTERN, TIME_PATTERN, Name, Strict
from provisioning.config.problems import brief

WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "weekdays", "weekend"]
_GROUPS = {"weekdays": WEEK[:5], "weekend": WEEK[5:]}
TimeOfDay = Annotated[str, StringConstraints(pattern=TIME_PATTERN)]


def minutes(time: str) -> int:
    """Minutes since midnight of `18:30`; `24:00` is the end of the day."""
    hour, _, minute = time.partition(":")
    return int(hour) * 60 + int(minute)


def parse_moment(text: str) -> datetime:
    """`2026-12-24 22:00` as it stands, for comparing: in no time zone in particular. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def _zone(value: str) -> str:
    """A zone that this machine knows; Alertmanager reads the same database, and does not start without it."""
    if value == "UTC":
        return value
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise ValueError("this machine knows no time zones; install tzdata, or use UTC") from None
        raise ValueError(f"there is no time zone {brief(value)}; write it like America/Sao_Paulo or UTC") from None
    return value


def _moment(value: str) -> str:
    try:
        parse_moment(value)
    except ValueError:
        raise ValueError(f"there is no {brief(value)}; write a moment as 2026-12-24 22:00") from None
    return value


Zone = Annotated[str, AfterValidator(_zone)]
Moment = Annotated[str, StringConstraints(pattern=MOMENT_PATTERN), AfterValidator(_moment)]


class Times(Strict):
    """Days of the week, and from when to when."""

    days: list[Day] = Field(
        ["weekdays", "weekend"], min_length=1, description="Days of the week; `weekdays` is Monday to Friday."
    )
    begin: TimeOfDay = Field("00:00", description="Such as 09:00.")
    end: TimeOfDay = Field(
        "24:00", description="Such as 18:00. One before `begin` is on the next day: 22:00 to 06:00 is a night."
    )

    @model_validator(mode="after")
    def _lasts(self) -> Times:
        if self.begin in (self.end, "24:00"):
            raise ValueError("begin and end leave no time between them; leave both out for the whole day")
        return self

    @property
    def weekdays(self) -> tuple[str, ...]:
        """The days by name, in the order of the week."""
        named = {day for given in self.days for day in _GROUPS.get(given, (given,))}
        return tuple(day for day in WEEK if day in named)


class Hours(Strict):
    """Times of the week that have a name, such as working hours."""

    name: Name = Field(description="How people, routes and mutes call it; unique among hours.")
    times: list[Times] = Field(min_length=1, description="When; several add up.")
    zone: Zone | None = Field(None, description="Time zone, such as America/Sao_Paulo; else `notifications.zone`.")
