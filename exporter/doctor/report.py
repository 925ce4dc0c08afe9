"""The findings as text for people and as JSON for scripts. Nothing from outside reaches the terminal as it came."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from exporter.doctor.exam import count
from exporter.doctor.examine import Report
from exporter.doctor.findings import Severity
from provisioning.config.problems import printable

SHAPE = 1  # of the JSON; a new number when a key goes or changes its meaning
LONGEST = 400  # characters of one line that quotes a target
_WIDTH = len("warning")


def totals(reports: Iterable[Report]) -> Counter[Severity]:
    """How many findings of each severity."""
    return Counter(finding.severity for report in reports for finding in report.findings)


def exit_code(reports: Iterable[Report]) -> int:
    """0 when there is nothing but notes, 1 with warnings, 2 with errors."""
    found = totals(reports)
    if found[Severity.ERROR]:
        return 2
    return 1 if found[Severity.WARNING] else 0


def as_text(reports: list[Report]) -> str:
    """A paragraph a target, and a line that sums up."""
    found = totals(reports)
    numbers = [count(found[Severity.ERROR], "error"), count(found[Severity.WARNING], "warning")]
    last = ", ".join([*numbers, count(found[Severity.INFO], "note")])
    return "\n\n".join([*map(_paragraph, reports), f"{count(len(reports), 'target')}: {last}"])


def as_json(reports: list[Report], file: str) -> str:
    """The same for scripts; see docs/doctor.md for the shape."""
    found = totals(reports)
    document: dict[str, Any] = {
        "shape": SHAPE,
        "config": file,
        "exit_code": exit_code(reports),
        "totals": {severity.value: found[severity] for severity in Severity},
        "targets": [
            {
                "name": report.name,
                "system": report.system,
                "address": report.address,
                "version": report.version or None,
                "checked": report.checked,
                "findings": [
                    {
                        "id": finding.id,
                        "severity": finding.severity.value,
                        "seen": finding.seen,
                        "mend": finding.mend,
                    }
                    for finding in report.findings
                ],
            }
            for report in reports
        ],
    }
    return json.dumps(document, indent=2)


def _paragraph(report: Report) -> str:
    version = f" ({_safe(report.version)[:40]})" if report.version else ""
    lines = [f"{report.name}: {report.system} {_safe(report.address)}{version}"]
    if not report.findings:
        lines.append(f"  nothing found; checked: {', '.join(report.checked)}")
    for finding in report.findings:
        lines.append(f"  {finding.severity.value:<{_WIDTH}} {finding.id}: {_safe(finding.seen)}")
        lines.append(f"  {'':<{_WIDTH}} mend: {_safe(finding.mend)}")
    return "\n".join(lines)


def _safe(text: str) -> str:
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
