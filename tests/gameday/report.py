"""What a game day tells: a line for each scenario as it ends, and a table of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.gameday.play import Result

_HEAD = "| Fault | Caught | By | After | Told after | Messages | Acknowledged | Over after | Verdict |"


def line(result: Result) -> str:
    """One line for who watches."""
    scenario = result.scenario
    if result.skipped:
        return f"{scenario.name:<34} left out: {result.skipped}"
    verdict = "good" if result.good else "; ".join(result.problems)
    told = f", told after {_seconds(result.told_after)}" if result.told_after is not None else ""
    caught = f"{scenario.alert} after {_seconds(result.fired_after)}{told}" if result.fired_after is not None else "-"
    return f"{scenario.name:<34} {caught:<60} {verdict}"


def table(results: Iterable[Result]) -> str:
    """All of it."""
    rows = [_HEAD, "|---|---|---|---:|---:|---|---|---:|---|"]
    rows += [_row(one) for one in results]
    return "\n".join(rows) + "\n"


def counts(results: list[Result]) -> str:
    """How many were good, and how many were not played."""
    played = [one for one in results if not one.skipped]
    return f"{sum(one.good for one in played)} of {len(played)} good, {len(results) - len(played)} left out"


def _row(result: Result) -> str:
    scenario = result.scenario
    if result.skipped:
        return f"| {scenario.name} | | | | | | | | left out: {result.skipped} |"
    caught = "not to be" if scenario.alert is None else "yes" if result.fired_after is not None else "**no**"
    acknowledged = {True: "yes", False: "**no**", None: ""}[result.acknowledged]
    verdict = "good" if result.good else "**" + "; ".join(result.problems).replace("|", "/") + "**"
    cells = [
        *(scenario.name, caught, scenario.alert or "", _seconds(result.fired_after), _seconds(result.told_after)),
        *(_counts(result.messages), acknowledged, _seconds(result.resolved_after), verdict),
    ]
    return f"| {' | '.join(cells)} |"


def _counts(messages: Counter[tuple[str, str]]) -> str:
    return ", ".join(f"{person}: {count} {channel}" for (person, channel), count in sorted(messages.items()))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
