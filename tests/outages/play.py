"""Plays one fault: breaks, waits, mends, and sees what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.outages.faults import Fault
from tests.outages.judging import GOOD, SLACK, Seen
from tests.outages.keeping import Kept
from tests.outages.parts import RESTART
from tests.outages.stack import Stack
from tests.outages.visitors import PEOPLE, Visitors
from tests.outages.watching import Alerts
from tests.outages.ways import WAYS

_BEFORE = 2.0  # s that people ask before anything is broken
_GOOD = 4 * PEOPLE  # answers in a row until all are believed to be good
_LOOKS = 2.5  # intervals of Prometheus until it has surely looked again
_INTERVAL = 15.0  # s, of production


class Player:
    """What is the same for all faults."""

    def __init__(self, stack: Stack, visitors: Visitors, alerts: Alerts, silence: str) -> None:
        self._stack, self._visitors, self._alerts, self._silence = stack, visitors, alerts, silence

    def calm(self, longest: float) -> bool:
        """Waits until nothing fires or is about to, from now on; False when it does not come to that."""
        begun = time.monotonic()
        settled = begun + max(2.0, _LOOKS * _INTERVAL / self._stack.factor)
        return _until(lambda: self._alerts.calm_since(settled), longest)

    def play(self, fault: Fault) -> Seen:
        """Raises AssertionError when a part does not come back."""
        [(way, parameters)] = fault.way.items()
        factor = self._stack.factor
        kept = Kept(self._stack, self._visitors, self._silence)
        self._alerts.begin()
        with self._visitors.asking():
            time.sleep(_BEFORE)
            broken = time.monotonic()
            with WAYS[way](self._stack, **parameters):
                self._hold(fault, broken)
                mended = time.monotonic()
            _until(self._all_good, fault.back_within + SLACK)
            self.calm(fault.ends_within / factor + SLACK)
        alerts = self._alerts.seen
        answers = tuple(answer for answer in self._visitors.answers if answer.at >= broken)
        return Seen(broken=broken, mended=mended, answers=answers, alerts=alerts, lost=kept.lost())

    def _hold(self, fault: Fault, broken: float) -> None:
        """Until the fault may be mended: its time is over, and its alert fires or is given up."""
        factor, alert = self._stack.factor, fault.alert
        time.sleep(max(RESTART, fault.hold / factor))
        if alert is not None:
            end = broken + fault.fires_within / factor + SLACK
            _until(lambda: self._alerts.fires(alert), end - time.monotonic())

    def _all_good(self) -> bool:
        last = self._visitors.answers[-_GOOD:]
        recent = all(answer.at > time.monotonic() - 10 for answer in last)
        return recent and all(answer.status == GOOD for answer in last)


def _until(look: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
