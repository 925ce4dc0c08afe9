"""A table for a terminal and for docs/performance.md: the same Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing."""

    what: str
    value: str
    ratio: str = ""
    reach: str = ""  # what issue and design ask for
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Measurements that stand side by side."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def text(self) -> str:
        """As Markdown."""
        lines = [f"### {self.title}", "", "| What | Measured | Ratio | Reach |", "|---|---:|---|---|"]
        for row in self.rows:
            reach = row.reach + {True: ": met", False: ": **missed**", None: ""}[row.met]
            lines.append(f"| {row.what} | {row.value} | {row.ratio} | {reach} |")
        return "\n".join(lines) + "\n"


def ms(seconds: float) -> str:
    """Milliseconds for people."""
    return f"{seconds * 1000:.{1 if seconds < 0.1 else 0}f} ms"  # noqa: PLR2004 -- 100 ms need no tenths


def p95(seconds: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(seconds, n=20)[-1]
