"""A test that takes the whole real way: posted to Alertmanager like an alert, told like one, and counted.

What can be known: Alertmanager counts the mails that the mail server took and the attempts that failed, and the SMS
bridge what the provider took. Neither says for whom, so a real alert in the same seconds counts, too; and none knows
what was read.
"""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from alert_rules import links
from alert_rules.counters import Counters
from alert_rules.routing.asked import Answer, asked
from alert_rules.routing.matching import Labels
from alert_rules.routing.names import TEST, TEST_TO
from alert_rules.routing.tree import tree
from alert_rules.writing import Alert
from provisioning.config.addresses import dial_address
from provisioning.config.durations import format_duration
from provisioning.config.model import Config
from provisioning.config.targets import SYSTEMS

Say = Callable[[str], None]
_PATIENCE = 60.0  # s beyond Alertmanager's own wait: a mail server may take its time
_LOOK = 0.5
_TAKEN = ("sent", "duplicate")
_WAITING = "waiting"


class RehearsalError(Exception):
    """Nothing was sent; `str()` says why, for people."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was counted up to a moment, or since one."""

    mails: int
    failed: int
    sms: dict[str, int]

    @classmethod
    def of(cls, counters: Counters) -> _Seen:
        mails, failed = counters.mails()
        return cls(int(mails), int(failed), {result: int(count) for result, count in counters.sms().items()})

    def since(self, before: _Seen) -> _Seen:
        sms = {result: count - before.sms.get(result, 0) for result, count in self.sms.items()}
        more = {result: count for result, count in sms.items() if count > 0}
        return _Seen(self.mails - before.mails, self.failed - before.failed, more)

    def told(self) -> int:
        """Messages to phones of which something is settled."""
        return sum(count for result, count in self.sms.items() if result != _WAITING)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One test: its labels, its texts, and whom it should reach."""

    config: Config
    labels: Labels
    texts: Labels
    expected: tuple[Answer, ...]
    begun: datetime

    @classmethod
    def of(cls, config: Config, alert: Alert, person: str | None, given: Labels) -> Rehearsal:
        """Raises RehearsalError when it would reach nobody."""
        now = datetime.now(UTC)
        if person is not None and person not in {entry.name for entry in config.people}:
            raise RehearsalError(f"there is no person {person!r} in the file")
        labels = {
            "alertname": alert.name,
            "severity": alert.severity,
            "system": alert.system,
            "cluster": config.name,
            **_place(config, alert),
            **given,
            TEST: f"{now:%Y%m%d-%H%M%S}",
            **({TEST_TO: person} if person else {}),
        }
        answers = asked(tree(config), labels, config.notifications, now)
        soon = min((answer.wait for answer in answers), default=0.0)
        expected = tuple(answer for answer in answers if answer.told and not answer.silent_now and answer.wait <= soon)
        if not expected:
            silent = ", ".join(f"{answer.receiver} ({', '.join(answer.silent_now)})" for answer in answers)
            why = f"silent now: {silent}" if silent else f"see `cluster-ai alerts routes {alert.name}`"
            raise RehearsalError(f"nobody would be told of {alert.name} now; {why}")
        grafana = config.grafana_url
        texts = {
            "summary": f"{alert.name} is tested, nothing is broken",
            "description": f"{_sender()} sent this with `cluster-ai alerts test` at {now:%H:%M:%S} UTC.",
            "runbook_url": links.runbook(grafana, alert.name),
            "dashboard_url": links.page(grafana, alert.page, ()),
        }
        return cls(config, labels, texts, expected, now)

    def perform(self, url: str | None, bridge: str | None, say: Say) -> bool:
        """Sends it and says what became of it; whether all messages were taken. Raises UnreachableError.

        Without `url` and `bridge` Alertmanager and the SMS bridge are asked where `services` says that they listen.
        """
        say(f"Test {self.labels[TEST]} of {self.labels['alertname']} goes to:")
        for answer in self.expected:
            say(f"  {answer.receiver}")
        services = self.config.services
        bridge = (bridge or f"http://{dial_address(services.sms_bridge)}").rstrip("/")
        asked_too = bridge if self._count("sms") else None
        with Counters(url or f"http://{dial_address(services.alertmanager)}", asked_too) as counters:
            before = _Seen.of(counters)
            counters.post(self._alert(ends=timedelta(minutes=30)))
            wait = max(answer.wait for answer in self.expected)
            say(f"Alertmanager has it; messages leave after {format_duration(wait)} ...")
            found = self._watch(counters, before, wait)
            counters.post(self._alert(ends=timedelta(0)))
        good = [self._mail(found, say)] if self._count("mail") else []
        good += [self._sms(found, say)] if self._count("sms") else []
        update = format_duration(self.config.notifications.timing.update)
        say(f"The test is over; within {update} those who were told are told that it is. Ask them what they have seen.")
        return all(good)

    def _watch(self, counters: Counters, before: _Seen, wait: float) -> _Seen:
        """What was counted since, once it is enough or nothing more is to be expected."""
        until = time.monotonic() + wait + _PATIENCE
        while True:
            found = _Seen.of(counters).since(before)
            done = found.mails + found.failed >= self._count("mail") and found.told() >= self._count("sms")
            if done or time.monotonic() > until:
                return found
            time.sleep(_LOOK)

    def _mail(self, found: _Seen, say: Say) -> bool:
        mail = self.config.notifications.mail
        failed = f"; attempts that failed: {found.failed}, Alertmanager's log says why" if found.failed else ""
        say(f"mail: {mail.smarthost if mail else ''} took {found.mails} of {self._count('mail')}{failed}")
        return found.mails >= self._count("mail") and not found.failed

    def _sms(self, found: _Seen, say: Say) -> bool:
        taken = sum(found.sms.get(result, 0) for result in _TAKEN)
        others = [f"{count} {result}" for result, count in found.sms.items() if result not in _TAKEN]
        failed = f"; {', '.join(others)}, the bridge's log says why" if others else ""
        say(f"SMS: the provider took {taken} of {self._count('sms')}{failed}")
        return taken >= self._count("sms")

    def _count(self, means: str) -> int:
        return sum(1 for answer in self.expected if answer.told and answer.told.means == means)

    def _alert(self, *, ends: timedelta) -> dict[str, Any]:
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.texts),
            "startsAt": self.begun.isoformat(),  # left out, Alertmanager would take the end for it
            "endsAt": (datetime.now(UTC) + ends).isoformat(),
            "generatorURL": f"{self.config.grafana_url}/d/cluster-ai-alerts/",
        }


def _sender() -> str:
    """Who runs this; in a container of the owner's a user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


def _place(config: Config, alert: Alert) -> dict[str, str]:
    """A target or machine that there is."""
    about = "target" if "target" in alert.labels else "host"
    there = getattr(config.targets, alert.system, ()) if alert.system in SYSTEMS else config.targets.hosts
    return {about: there[0].name} if about in alert.labels and there else {}
