"""Routing in words, for a terminal."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from textwrap import wrap

from alert_rules.routing.asked import Answer
from alert_rules.routing.cases import Group, Labels
from alert_rules.writing import SEVERITIES
from provisioning.config.durations import format_duration
from provisioning.config.problems import printable

_WIDTH = 100
_ESCALATED = re.compile(r" after [0-9a-z]+$")
_Kind = tuple[str, str]
"""Severity and system."""


def said(groups: Sequence[Group], *, all_there_are: bool) -> Iterator[str]:
    """For each group its alerts, and a line for each who is told; those who are not told now come last."""
    everything = [labels for group in groups for labels in group.alerts]
    for group in groups:
        yield ""
        hosts: dict[str, list[str]] = defaultdict(list)
        for host in dict.fromkeys(map(_host, group.alerts)):
            here, asked = ([labels for labels in some if _host(labels) == host] for some in (group.alerts, everything))
            hosts[", ".join(_named(here, asked, all_there_are=all_there_are))].append(host)
        for names, where in hosts.items():
            text = names if "" in where else f"{names} on {', '.join(where)}"
            yield from wrap(printable(text), _WIDTH, break_on_hyphens=False)
        yield from _told(group.answers)


def _told(answers: Sequence[Answer]) -> Iterator[str]:
    telling = [answer for answer in answers if not answer.silent_now]
    if not telling:
        yield "  nobody now; it shows on the pages"
    for answer in telling:
        yield f"  {_telling(answer)}"
    now = {answer.receiver for answer in telling}
    for answer in answers:
        if answer.silent_now and answer.receiver not in now:
            yield f"  not now: {answer.receiver} ({', '.join(answer.silent_now)})"


def _named(alerts: Sequence[Labels], asked: Sequence[Labels], *, all_there_are: bool) -> Iterator[str]:
    """Alerts by their kind where all of it is here, else by name; with the target where only some are."""
    whole: dict[str, list[str]] = defaultdict(list)
    single: list[Labels] = []
    for kind in dict.fromkeys(map(_kind, alerts)):
        of_kind = [labels for labels in alerts if _kind(labels) == kind]
        if all_there_are and len(of_kind) == sum(_kind(labels) == kind for labels in asked):
            whole[kind[0]].append(kind[1])
        else:
            single += of_kind
    for severity in SEVERITIES:
        if severity in whole:
            yield f"every {severity} alert of {', '.join(whole[severity])}"
    for name in dict.fromkeys(labels["alertname"] for labels in single):
        targets = [labels["target"] for labels in single if labels["alertname"] == name and "target" in labels]
        some = sum(labels["alertname"] == name for labels in asked) > len(targets) > 0
        yield f"{name} ({', '.join(targets)})" if some else name


def _host(labels: Labels) -> str:
    return labels.get("host", "")


def _kind(labels: Labels) -> _Kind:
    return labels["severity"], labels["system"]


def _telling(answer: Answer) -> str:
    """One line: who, where to, when first and when again."""
    if answer.told is None:
        return answer.receiver
    person = answer.told.person
    address = person.email if answer.told.means == "mail" else person.sms
    wait = format_duration(answer.wait)
    first = f"after {wait} without acknowledgement" if _ESCALATED.search(answer.receiver) else f"within {wait}"
    return f"{_ESCALATED.sub('', answer.receiver)} ({address}) {first}, again every {format_duration(answer.repeat)}"
