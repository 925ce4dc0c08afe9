"""Whether the target's clock agrees with this machine's."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

from exporter.collectors.base import Answer, Clock, Http
from exporter.doctor.findings import Finding, warning

CLOCK_SKEW = warning(
    "clock-skew",
    "The target's clock and this machine's differ by more than five seconds, so times and ages come out wrong.",
    "run a time service (chrony, systemd-timesyncd) on both machines",
)
MOST = 5.0  # seconds


async def check(http: Http, path: str, clock: Clock, *, timeout: float) -> list[Finding]:
    """Compare the Date of an answer with the time when it was asked. Raises CollectError."""
    before = clock()
    answer = await http.ask(path, timeout=timeout)
    return findings(ahead(answer, before, clock()))


def ahead(answer: Answer, before: float, after: float) -> float:
    """How many seconds the answer's Date is ahead of the time it was asked in; 0 when it fits or there is none."""
    try:
        moment = parsedate_to_datetime(answer.date)
        told = moment.timestamp()
    except (ValueError, OverflowError, TypeError):
        return 0.0
    # Date is cut to whole seconds, so the truth lies in [told, told + 1).
    return max(0.0, told - after) or min(0.0, told + 1 - before)


def findings(seconds: float, whose: str = "the target's clock") -> list[Finding]:
    """A finding when the difference is too large."""
    if not math.isfinite(seconds) or abs(seconds) <= MOST:
        return []
    word = "ahead of" if seconds > 0 else "behind"
    return [CLOCK_SKEW.found(f"{whose} is {abs(seconds):.0f} s {word} this machine's")]
