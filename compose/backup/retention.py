"""Which backups may go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path


def superfluous(
    there: Mapping[Path, datetime], now: datetime, *, days: int, weeks: int, proven: str | None = None
) -> list[Path]:
    """Those that are older than `days` days and not the last of one of the last `weeks` weeks.

    The newest is always kept, and so is `proven`, the one that was restored last as a test: it is the only one known
    to be good.
    """
    newest = max(there, key=there.__getitem__, default=None)
    last_of_week: dict[tuple[int, int], Path] = {}
    for path, made in sorted(there.items(), key=lambda one: one[1]):
        last_of_week[made.isocalendar()[:2]] = path
    weekly = {path for path in last_of_week.values() if there[path] > now - timedelta(weeks=weeks)}
    return [
        path
        for path, made in there.items()
        if made <= now - timedelta(days=days) and path not in weekly and path != newest and path.name != proven
    ]
