"""What came of a fault, in a row, and whether it is what the list says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.outages.faults import Fault

GOOD = "200"
# An alert is seen when Prometheus has looked twice and we have asked, which no clock makes faster.
SLACK = 15.0  # s


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got, `at` the end of waiting `seconds` for it: a status, or a word where there was none."""

    at: float
    seconds: float
    status: str


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert, in seconds of the same clock; it goes on when it has no end."""

    begun: float
    ended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was seen of one fault, by one clock."""

    broken: float
    mended: float
    answers: Sequence[Answer] = ()
    alerts: Mapping[str, Firing] = field(default_factory=dict)
    lost: Sequence[str] = ()
    """What is no longer there, in words."""

    @property
    def statuses(self) -> Counter[str]:
        return Counter(answer.status for answer in self.answers)

    @property
    def last_bad(self) -> float | None:
        """When the last bad answer came; None when all were good."""
        return max((answer.at for answer in self.answers if answer.status != GOOD), default=None)

    @property
    def good_after(self) -> float:
        """Seconds from the fault until all answers were good again."""
        return 0.0 if self.last_bad is None else max(0.0, self.last_bad - self.broken)

    @property
    def back_after(self) -> float:
        """Seconds from the mending until then."""
        return 0.0 if self.last_bad is None else max(0.0, self.last_bad - self.mended)

    @property
    def longest(self) -> float:
        """Seconds that somebody waited for an answer."""
        return max((answer.seconds for answer in self.answers), default=0.0)


def wrong(fault: Fault, seen: Seen, factor: float) -> list[str]:
    """How it differs from what the list says, in words; `factor` is by what production's seconds are divided."""
    return [*_visitors(fault, seen), *_alerts(fault, seen, factor), *(f"lost: {what}" for what in seen.lost)]


def _visitors(fault: Fault, seen: Seen) -> list[str]:
    found = []
    bad = {status: count for status, count in seen.statuses.items() if status != GOOD}
    if not seen.statuses[GOOD]:
        found.append("no visitor had a good answer")
    if fault.unnoticed and bad:
        found.append(f"visitors noticed: {_counted(bad)}")
    if seen.back_after > fault.back_within:
        found.append(f"all were good {seen.back_after:.1f} s after the mending, not within {fault.back_within:g} s")
    if seen.longest > fault.waits:
        found.append(f"somebody waited {seen.longest:.1f} s for an answer, more than {fault.waits:g} s")
    return found


def _alerts(fault: Fault, seen: Seen, factor: float) -> list[str]:
    found = []
    may = {*fault.beside, *(fault.perhaps if factor > 1 else ())}
    if fault.alert is not None:
        may.add(fault.alert)
        fired = seen.alerts.get(fault.alert)
        within = fault.fires_within / factor + SLACK
        if fired is None:
            found.append(f"{fault.alert} did not fire")
        elif fired.begun - seen.broken > within:
            found.append(f"{fault.alert} fired after {fired.begun - seen.broken:.0f} s, not within {within:.0f} s")
    found += [f"{name} fired" for name in sorted(set(seen.alerts) - may)]
    for name, firing in sorted(seen.alerts.items()):
        within = fault.ends_within / factor + SLACK
        if firing.ended is None:
            found.append(f"{name} did not end")
        elif firing.ended - seen.mended > within:
            found.append(
                f"{name} ended {firing.ended - seen.mended:.0f} s after the mending, not within {within:.0f} s"
            )
    return found


def row(fault: Fault, seen: Seen, complaints: Sequence[str]) -> str:
    """A line of the table."""
    bad = {status: count for status, count in seen.statuses.items() if status != GOOD}
    visitors = f"{_counted(bad)}" if bad else "nothing"
    visitors += f" in {seen.statuses.total()} answers"
    told = [_told(name, firing, seen) for name, firing in sorted(seen.alerts.items(), key=lambda one: one[1].begun)]
    columns = (
        fault.name,
        visitors,
        f"{seen.good_after:.1f} s" if bad else "",
        f"{seen.back_after:.1f} s" if bad else "",
        f"{seen.longest:.1f} s",
        "; ".join(told) or "none",
        "; ".join(seen.lost) or "nothing",
        "; ".join(complaints) or "as it should be",
    )
    return f"| {' | '.join(columns)} |"


HEAD = (
    "| Fault | Visitors saw | All good after | After the mending | Longest wait | Alerts | Lost | |\n"
    "|---|---|---|---|---|---|---|---|"
)


def _told(name: str, firing: Firing, seen: Seen) -> str:
    ended = "goes on" if firing.ended is None else f"ended {firing.ended - seen.mended:.0f} s after the mending"
    return f"{name} after {firing.begun - seen.broken:.0f} s, {ended}"


def _counted(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{status} ({count})" for status, count in sorted(statuses.items()))
