"""What the templates call: makes every alert complete, and applies what differs for single targets.

A template writes what is wrong, in PromQL, and what to tell people; severity's form, links and overrides are added
here. Each call gives one line of YAML, so that a template stays a list of rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

from alert_rules import links
from alert_rules.overrides import Case, Limits, Overrides, number, spoken, subject
from provisioning.config.durations import parse_duration

SEVERITIES = ("critical", "warning", "info")
LABELS = ("target", "host", "worker", "model", "backend", "mountpoint", "job", "instance")
"""The labels an alert may have beside `severity` and `system`: what tells one fault from another."""
# Two windows each, so that an alert begins soon and ends soon: how many times faster than it may the budget is used.
FAST = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW = (("1d", "2h", 3.0), ("3d", "6h", 1.0))
BURN_KEEP = "15m"
"""A share that wavers around a line is one incident; and what it hides, such as DaskTasksFailing, ends before it."""
_INDENT = " " * 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as it was rendered."""

    name: str
    system: str
    """dask, ollama, openwebui, host or monitoring."""
    severity: str
    wait: float
    """Seconds for which the fault must last before the alert is raised."""
    keep: float
    """Seconds for which the alert stays after the fault was last seen."""
    labels: tuple[str, ...]
    """The labels of each alert beside `severity` and `system`."""
    page: str
    thresholds: tuple[str, ...]
    summary: str
    description: str
    expr: str

    @property
    def pages(self) -> bool:
        """Whether somebody is woken for it; its rule is then evaluated every 5 s."""
        return self.severity == "critical"


class WrongTemplateError(Exception):
    """A template calls for something that there is not."""


@dataclass(slots=True)
class Writer:
    """Writes the rules of one template."""

    system: str
    grafana: str
    overrides: Overrides
    written: list[Alert] = field(default_factory=list)

    def alert(
        self,
        name: str,
        severity: str,
        *,
        summary: str,
        description: str,
        page: str,
        caller: Callable[[Limits], str],
        labels: str = "target",
        wait: str = "",
        keep: str = "",
    ) -> str:
        """A whole alert. The text between `call` and `endcall` is its expression, which may read `limit.NAME`.

        `labels` are those the expression leaves, in words separated by spaces; `wait` and `keep` are durations (`for`
        and `keep_firing_for`). In the texts `<NAME>` stands for a threshold in people's units.
        """
        kept = tuple(labels.split())
        if severity not in SEVERITIES or page not in links.PAGES or not set(kept) <= set(LABELS):
            raise WrongTemplateError(f"{name}: no such severity, page or label: {severity}, {page}, {labels}")
        expr, used = self._expression(name, kept, caller)
        spoken_texts = [self._said(text, kept) for text in (summary, description)]
        texts = re.findall(r"<([a-z0-9_]+)>", f"{summary} {description}")
        alert = Alert(
            name=name,
            system=self.system,
            severity=severity,
            wait=parse_duration(wait) if wait else 0.0,
            keep=parse_duration(keep) if keep else 0.0,
            labels=kept,
            page=page,
            thresholds=tuple(dict.fromkeys((*used, *texts))),
            summary=spoken_texts[0],
            description=spoken_texts[1],
            expr=expr,
        )
        if self.overrides.is_off(name):
            return ""
        self.written.append(alert)
        return self._line(alert, wait, keep)

    def burn(
        self,
        name: str,
        *,
        objective: str,
        caller: Callable[[Limits, str, int], str],
        severities: Sequence[str] = ("critical", "warning"),
        summary: str,
        description: str,
        page: str,
        labels: str = "target",
        wait: str = "",
    ) -> str:
        """Two alerts on how fast the room that `objective` (a threshold's name) leaves for failures is used up.

        The text between `call` and `endcall` is the share that failed over a window: `[[ over ]]` is the window in
        brackets, `[[ seconds ]]` its length. NAMEFast is raised when the room of 30 days would be gone within two days
        (1 h and 5 min) or five (6 h and 30 min), NAMESlow within ten (1 d and 2 h) or thirty (3 d and 6 h). NAMESlow,
        whose windows hold the same failures for hours, does not tell again what NAMEFast told.
        """
        told = f'max_over_time(ALERTS{{alertname="{name}Fast", alertstate="firing"}}[{SLOW[-1][1]}])'
        lines = []
        for suffix, windows, severity in zip(("Fast", "Slow"), (FAST, SLOW), severities, strict=True):

            def expression(limit: Limits, windows: Any = windows) -> str:
                allowed = f"(1 - {getattr(limit, objective)})"
                either = []
                for long, short, times in windows:
                    both = "\n  and\n".join(
                        f"  (\n{indent(_tidy(caller(limit, f'[{over}]', int(parse_duration(over)))), '    ')}\n"
                        f"  ) > {number(times)} * {allowed}"
                        for over in (long, short)
                    )
                    either.append(f"(\n{both}\n)")
                burnt = "\nor\n".join(either)
                if windows is FAST:
                    return burnt
                return f"(\n{indent(burnt, '  ')}\n)\nunless on ({', '.join(labels.split())}) {told}"

            lines.append(
                self.alert(
                    f"{name}{suffix}",
                    severity,
                    summary=summary,
                    description=description,
                    page=page,
                    labels=labels,
                    wait=wait,
                    keep=BURN_KEEP,
                    caller=expression,
                )
            )
        return "".join(lines)

    def threshold_records(self) -> str:
        """A series for each threshold, with the number in force; targets with one of their own have a second series."""
        rules: list[dict[str, Any]] = []
        for name, value in self.overrides.numbers.items():
            record = f"cluster_ai:threshold:{name}"
            rules.append({"record": record, "expr": f"vector({number(value)})"})
            rules += [
                {"record": record, "expr": f"vector({number(own)})", "labels": {"target": target}}
                for target, own in self.overrides.of(name).items()
            ]
        return f"\n{_INDENT}".join(f"- {json.dumps(rule)}" for rule in rules)

    def _expression(
        self, name: str, labels: Sequence[str], caller: Callable[[Limits], str]
    ) -> tuple[str, dict[str, float]]:
        """The expression for everybody, or one for each set of numbers, each for its own targets."""
        limits = Limits(self.overrides.numbers)
        expr = _tidy(caller(limits))
        about = subject(labels)
        if about is None:
            return expr, limits.used
        off = self.overrides.off_for(name)
        cases = self.overrides.cases(limits.used, without=off)
        others = sorted({*off, *(target for case in cases for target in case.names)})
        if not others:
            return expr, limits.used
        parts = [f"(\n{indent(expr, '  ')}\n) unless on ({about}) {_named(about, others)}"]
        for case in cases:
            own = _tidy(caller(Limits(case.numbers)))
            parts.append(f"(\n{indent(own, '  ')}\n) and on ({about}) {_named(about, case.names)}")
        return "\nor\n".join(parts), limits.used

    def _said(self, text: str, labels: Sequence[str]) -> str:
        """The text with each `<NAME>` as the number that holds for whom the alert is about."""
        about = subject(labels)

        def words(match: re.Match[str]) -> str:
            name = match[1]
            try:
                common = spoken(name, self.overrides.numbers[name])
            except KeyError:
                raise WrongTemplateError(f"there is no threshold {name}") from None
            said = common
            for case in reversed(self.overrides.cases([name]) if about else []):
                said = _if_one_of(str(about), case, spoken(name, case.numbers[name]), otherwise=said)
            return said

        return re.sub(r"<([a-z0-9_]+)>", words, " ".join(text.split()))

    def _line(self, alert: Alert, wait: str, keep: str) -> str:
        rule = {
            "alert": alert.name,
            "expr": alert.expr,
            **({"for": wait} if wait else {}),
            **({"keep_firing_for": keep} if keep else {}),
            "labels": {"severity": alert.severity, "system": alert.system},
            "annotations": {
                "summary": alert.summary,
                "description": alert.description,
                "runbook_url": links.runbook(self.grafana, alert.name),
                "dashboard_url": links.page(self.grafana, alert.page, alert.labels),
            },
        }
        return f"{_INDENT}- {json.dumps(rule, ensure_ascii=False)}\n"


def _tidy(text: str) -> str:
    """Without the template's own indentation and empty lines."""
    return "\n".join(line.rstrip() for line in dedent(text).strip().splitlines() if line.strip())


def _named(label: str, names: Sequence[str]) -> str:
    """A vector with one series for each name; names are of `NAME_PATTERN` and need no escapes."""
    series = [f'label_replace(vector(1), "{label}", "{name}", "", "")' for name in names]
    return series[0] if len(series) == 1 else f"({' or '.join(series)})"


def _if_one_of(label: str, case: Case, said: str, *, otherwise: str) -> str:
    names = " ".join(f'"{name}"' for name in case.names)
    return f"{{{{ if eq $labels.{label} {names} }}}}{said}{{{{ else }}}}{otherwise}{{{{ end }}}}"
