"""When a backup or a test is due: a matter of what is there, so that what was missed while nothing ran is caught up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from provisioning.config.production import Backup

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SKEW = timedelta(hours=1)  # what was made later than this from now, a wrong clock made


def backup_is_due(settings: Backup, made: Iterable[datetime], now: datetime) -> bool:
    """Whether none was made since the last time of day at which one is made."""
    return _none_since(_last_time(settings, now), made, now)


def check_is_due(settings: Backup, tested: datetime | None, made: Iterable[datetime], now: datetime) -> bool:
    """Whether there is a backup, and none was tested since the last day of tests, or none ever."""
    if not list(made):
        return False
    last = _last_time(settings, now)
    last -= timedelta(days=(last.weekday() - DAYS.index(settings.check)) % 7)
    return _none_since(last, [tested] if tested else [], now)


def _last_time(settings: Backup, now: datetime) -> datetime:
    hour, minute = map(int, settings.at.split(":"))
    today = now.astimezone(UTC).replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def _none_since(moment: datetime, times: Iterable[datetime], now: datetime) -> bool:
    return not any(moment <= time <= now + _SKEW for time in times)
