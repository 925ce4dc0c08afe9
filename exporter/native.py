"""A Dask scheduler's own /metrics with a cap on its task prefixes, as pure text.

A scheduler never forgets a task prefix (`task_prefixes` in distributed/scheduler.py), so a cluster whose keys have no
common beginning gets eight new series for each task. The filter passes the largest prefixes on, line by line as they
came, and sums the others into `task_prefix_name="_other"`.

What makes the sums right for `rate` and `increase`, whoever is among the largest:

- `_other` of a counter is a sum of growth between two pages. A prefix's growth belongs to its own series when it had
  one on both pages, else to `_other`. So `_other` never falls, and no growth is counted twice or lost. It starts at 0
  when the exporter first sees the scheduler, so a restart of the exporter is an ordinary counter reset.
- Own series show what the scheduler shows, so below the limit the page is the scheduler's, with every `_other` at 0.
- A prefix takes another's place only when it has done twice its work, so places do not flap. One that comes back
  after a time in `_other` goes on where its own series ended.
- A gauge is summed only where a sum means something (bytes, tasks); others have no `_other`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.utils import floatToGoString

from exporter.families import Family, encode, gauge
from exporter.native_text import LABEL, Block, Parsed, Series

OTHER = "_other"
TAKEOVER = 2.0  # a prefix takes another's place when it has done this many times its work
_MOST_REMEMBERED = 200_000  # series; above it, those that are gone are forgotten
_go_number: Callable[[float], str] = floatToGoString


@dataclass(frozen=True, slots=True)
class Page:
    """A page for Prometheus and what the filter did to it."""

    text: str
    openmetrics: bool
    prefixes: int
    dropped: int  # prefixes without series of their own


class PrefixFilter:
    """The filter of one scheduler; remembers what it must for sums that only grow. One page at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._own: set[str] = set()
        self._once_own: set[str] = set()
        self._seen: dict[str, dict[str, float]] = {}  # series -> prefix -> value on the last page that had it
        self._other: dict[str, float] = {}
        self._lent: dict[tuple[str, str], float] = {}  # growth of prefixes that lost their place, counted in `_other`
        self._started: str | None = None
        self._first = True

    def apply(self, body: bytes) -> Page:
        """The page to serve in place of `body`, the scheduler's /metrics in text format 0.0.4 or OpenMetrics.

        Raises CollectError (`unexpected_content`) when it is neither, or has no series because the scheduler lacks
        prometheus_client.
        """
        parsed = Parsed(body)
        if parsed.started != self._started and not self._first:
            self._forget()
        before, self._own = self._own, self._choose(parsed.work)
        lines: list[str] = []
        left_out = 0
        for block in parsed.blocks:
            lines += block.plain
            left_out += self._pass_on(block, before, lines)
        self._once_own |= self._own
        self._started, self._first = parsed.started, False
        self._tidy(parsed)
        dropped = len(parsed.work.keys() - self._own)
        own = _own_families(len(parsed.work), dropped, self._limit, left_out)
        lines.append(encode(own, openmetrics=parsed.openmetrics) + "# EOF\n" * parsed.openmetrics)
        return Page("\n".join(lines), parsed.openmetrics, len(parsed.work), dropped)

    def _forget(self) -> None:
        """Another scheduler process: everything on its page was counted since its start. `_other` goes on."""
        for remembered in (self._own, self._once_own, self._seen, self._lent):
            remembered.clear()

    def _choose(self, work: dict[str, float]) -> set[str]:
        """The prefixes that get series of their own; who has them keeps them until another did twice the work."""
        own = set(self._own)
        waiting = sorted((prefix for prefix in work if prefix not in own and prefix != OTHER), key=lambda p: -work[p])
        free = max(0, self._limit - len(own))
        own.update(waiting[:free])
        smallest = sorted(self._own, key=lambda prefix: work.get(prefix, 0.0))
        for small, large in zip(smallest, waiting[free:], strict=False):
            if work[large] <= TAKEOVER * work.get(small, 0.0):
                break
            own.remove(small)
            own.add(large)
        return own

    def _pass_on(self, block: Block, before: set[str], lines: list[str]) -> int:
        """Add the lines of prefixes with series of their own, and `_other`; returns how many are left out."""
        own: list[tuple[int, str]] = []
        others: list[str] = []
        left_out = 0
        for series in block.series.values():
            shown = len(own)
            total = self._sum(series, before, own)
            left_out += len(series.rows) - (len(own) - shown)
            if series.sums:
                others.append(f'{series.head}{LABEL}{OTHER}"{series.tail} {_go_number(total)}')
        own.sort()  # as on the scheduler's page: OpenMetrics wants what has the same labels together
        lines += [line for _, line in own]
        lines += others
        return left_out

    def _sum(self, series: Series, before: set[str], lines: list[tuple[int, str]]) -> float:
        """The value of `_other`; the lines of prefixes with series of their own go to `lines`."""
        seen = self._seen.setdefault(series.key, {})
        own, grows = self._own, series.grows
        growth = total = 0.0
        for prefix, value, number, line in series.rows:
            if grows:
                if prefix not in own or (prefix not in before and prefix in seen):
                    growth += self._grown(series.key, seen, prefix, value)
                seen[prefix] = value
            if prefix not in own:
                total += value
            elif self._lent:
                lines.append((number, self._resumed(series, prefix, value, line)))
            else:
                lines.append((number, line))
        if grows:
            total = self._other[series.key] = self._other.get(series.key, 0.0) + growth
        return total

    def _grown(self, key: str, seen: dict[str, float], prefix: str, value: float) -> float:
        """Growth since the last page, which goes to `_other`; what was there before the first page is not ours."""
        grown = max(0.0, value - seen.get(prefix, value if self._first else 0.0))
        if prefix in self._once_own:
            self._lent[key, prefix] = self._lent.get((key, prefix), 0.0) + grown
        return grown

    def _resumed(self, series: Series, prefix: str, value: float, line: str) -> str:
        """The line of a prefix that was in `_other` for a while: without the growth that was counted there."""
        lent = self._lent.get((series.key, prefix), 0.0)
        if not lent:
            return line
        # A scheduler that was restarted inside its process begins again below what we remember.
        return f'{series.head}{LABEL}{prefix}"{series.tail} {_go_number(max(0.0, value - lent))}'

    def _tidy(self, parsed: Parsed) -> None:
        """Forget series that are gone, once there are very many: a page may for once lack what the next one has."""
        if max(len(self._other), sum(map(len, self._seen.values()))) <= _MOST_REMEMBERED:
            return
        there = [series for block in parsed.blocks for series in block.series.values()]
        self._seen = {series.key: {row[0]: row[1] for row in series.rows} for series in there}
        self._other = {series.key: self._other[series.key] for series in there if series.key in self._other}
        self._once_own &= parsed.work.keys()
        self._lent = {pair: lent for pair, lent in self._lent.items() if pair[1] in self._once_own}
        self._own &= parsed.work.keys()


def _own_families(prefixes: int, dropped: int, limit: int, left_out: int) -> list[Family]:
    rows = (
        (
            "prefixes",
            "Task prefixes on the scheduler's /metrics; a scheduler forgets none until it is restarted.",
            prefixes,
        ),
        ("prefix_limit", "Task prefixes that get series of their own (native_prefix_limit).", limit),
        (
            "prefixes_dropped",
            'Task prefixes without series of their own, summed in task_prefix_name="_other".',
            dropped,
        ),
        ("series_dropped", "Series of the scheduler's /metrics that this page leaves out or sums.", left_out),
    )
    families = []
    for name, help, value in rows:
        family = gauge(f"dask_cluster_native_{name}", help)
        family.add(value)
        families.append(family)
    return families
