"""What an SMS says: FIRING or RESOLVED, what broke and where, since when, and the link that acknowledges it."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from urllib.parse import quote

from alert_rules.bridge.gsm7 import fold, is_gsm7, segments
from alert_rules.bridge.webhook import Alert, Notification
from alert_rules.routing.names import TEST

SEGMENTS = 2
"""The most that one text may cost."""
_RANK = {"critical": 0, "warning": 1, "info": 2}
_PLACES = ("target", "host", "worker", "model", "backend")
_LEAST = {True: 48, False: 24}  # characters of the first alert that a link must leave, in the 7-bit alphabet or not
_CUT = "..."
_WAITED = re.compile(r" after ([0-9a-z]+)$")
"""How routing names the receivers that are told because nobody acknowledged."""
_PLAIN = re.compile(r"[A-Za-z0-9_.:/-]+")
_LINK = re.compile(r"\b(https?|ftp)://", re.IGNORECASE)
_LOOKED_AT = 500  # alerts of a group, the gravest first; a text has room for a handful, and ten thousand take seconds
_DAY = 86_400
_HOUR = 3_600
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Style:
    """What all texts of an installation have in common."""

    cluster: str
    """The installation's name."""
    grafana: str
    """Where people reach Grafana, without a slash at the end."""
    zone: tzinfo = UTC


def compose(notification: Notification, style: Style, now: datetime, notice: str = "") -> str:
    """The text, at most SEGMENTS long. `notice` is a sentence that must be in it.

    The link is Grafana's silence form, filled in; where that is too long, the page of all alerts.
    """
    alerts = sorted(notification.current or notification.alerts, key=_weight)
    links = _links(notification, alerts, style)
    for at_any_price in (False, True):
        say = partial(fold, at_any_price=at_any_price)
        head = say(_head(notification, alerts, style, now))
        lines = Counter(say(_line(alert)) for alert in alerts[:_LOOKED_AT])
        for link in links:
            tail = [*([say(notice)] if notice else []), *([f"Ack: {link}"] if link else [])]
            text = _filled(head, lines, tail, len(alerts) + notification.truncated)
            if text is not None:
                return text
    return _cut(fold("\n".join([_head(notification, alerts, style, now), notice, _line(alerts[0])]), at_any_price=True))


def silence_form(notification: Notification, alerts: Iterable[Alert], grafana: str) -> str:
    """Grafana's form for a silence of these alerts, filled in; who sends it is known to Grafana.

    Read by Grafana's own matcher parser: public/app/features/alerting/unified/utils/alertmanager.ts.
    """
    names = sorted({alert.name for alert in alerts})
    said = {"alertname", "system"} if "target" in notification.group_labels else {"alertname"}  # one system a target
    matchers = [
        f"{name}={_quoted(value)}" for name, value in sorted(notification.group_labels.items()) if name not in said
    ]
    matchers.insert(0, f"alertname={names[0]}" if len(names) == 1 else f"alertname=~{'|'.join(map(re.escape, names))}")
    query = "&".join(f"matcher={quote(matcher, safe='')}" for matcher in matchers)
    return f"{grafana}/alerting/silence/new?alertmanager=Alertmanager&{query}&comment=ACK"


def _links(notification: Notification, alerts: list[Alert], style: Style) -> list[str]:
    if notification.status == "resolved":
        return [""]
    return [silence_form(notification, alerts, style.grafana), f"{style.grafana}/d/cluster-ai-alerts"]


def _head(notification: Notification, alerts: list[Alert], style: Style, now: datetime) -> str:
    test = "TEST " if any(TEST in alert.labels for alert in alerts) else ""
    begun = min((alert.started for alert in alerts if alert.started), default=None)
    if notification.status == "resolved":
        ended = max((alert.ended for alert in alerts if alert.ended), default=now)
        lasted = f" after {_lasted((ended - begun).total_seconds())}" if begun and ended >= begun else ""
        return f"{test}RESOLVED {style.cluster}, {_clock(ended, style, now)}{lasted}"
    count = f"{len(alerts) + notification.truncated} alerts, " if len(alerts) + notification.truncated > 1 else ""
    severity = f"{alerts[0].severity}, " if alerts[0].severity else ""
    since = f", since {_clock(begun, style, now)}" if begun else ""
    waited = _WAITED.search(notification.receiver)
    again = f"not acknowledged for {waited[1]}, " if waited else ""
    return f"{test}FIRING {again}{count}{severity}{style.cluster}{since}"


def _quoted(value: str) -> str:
    """A matcher's value; quoted, it may hold any sign."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _line(alert: Alert) -> str:
    """What and where; the place is added where the rule's own summary does not name it."""
    summary = _harmless(alert.annotations.get("summary", ""))
    said = f"{_harmless(alert.name)}: {summary}" if summary else _harmless(alert.name)
    places = [_harmless(alert.labels[name]) for name in _PLACES if alert.labels.get(name)]
    missing = [place for place in dict.fromkeys(places) if place not in said]
    return f"{said} ({', '.join(missing)})" if missing else said


def _harmless(text: str) -> str:
    """On one line and without a link: names come from whoever names a worker or a model, and are read half asleep."""
    return _LINK.sub(r"\1:", " ".join(text.split()))


def _filled(head: str, lines: Counter[str], tail: list[str], total: int) -> str | None:
    """As many lines as fit, the first cut if need be; None when too little of it would be left."""
    shown: list[str] = []
    left = total
    for line, count in lines.items():
        said = f"{line} ({count}x)" if count > 1 else line
        if not shown:
            said = _room(head, said, tail, left - count)
            if len(said) < min(len(line), _LEAST[is_gsm7(head + line)]):
                return None
        elif segments(_joined(head, [*shown, said], tail, left - count)) > SEGMENTS:
            break
        shown.append(said)
        left -= count
    return _joined(head, shown, tail, left)


def _room(head: str, line: str, tail: list[str], left: int) -> str:
    """The first line, cut to what the rest of the text leaves for it."""
    if segments(_joined(head, [line], tail, left)) <= SEGMENTS:
        return line
    over = bisect_left(
        range(len(line)),
        x=True,
        key=lambda end: segments(_joined(head, [line[:end] + _CUT], tail, left)) > SEGMENTS,
    )
    return line[: over - 1].rstrip() + _CUT if over else ""


def _joined(head: str, lines: list[str], tail: list[str], left: int) -> str:
    more = [f"+{left} more"] if left > 0 else []
    return "\n".join([head, *lines, *more, *tail])


def _cut(text: str) -> str:
    """What remains where not even the page of all alerts has a link short enough."""
    fits = bisect_left(range(len(text)), x=True, key=lambda end: segments(text[:end] + _CUT) > SEGMENTS)
    return text if segments(text) <= SEGMENTS else text[: fits - 1] + _CUT


def _weight(alert: Alert) -> tuple[int, str, str, str]:
    return _RANK.get(alert.severity, len(_RANK)), alert.starts_at, alert.name, alert.fingerprint


def _clock(moment: datetime, style: Style, now: datetime) -> str:
    there = moment.astimezone(style.zone)
    day = f"{there:%d %b} " if abs((now - moment).total_seconds()) > _DAY / 2 else ""
    return f"{day}{there:%H:%M} {there.tzname() or ''}".rstrip()


def _lasted(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f}m"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f}h{seconds % _HOUR // _MINUTE:02.0f}m"
    return f"{seconds // _DAY:.0f}d{seconds % _DAY // _HOUR:02.0f}h"
