"""Names that Alertmanager's configuration, messages and the bridge have in common."""

from __future__ import annotations

from provisioning.config.audience import Telling
from provisioning.config.durations import format_duration
from provisioning.config.notifications import Escalation

NOBODY = "nobody"
HEARTBEAT = "heartbeat"
WATCHDOG = "Watchdog"
TEST = "test"
"""The label that marks a test; its value is new each time, so that no test joins another."""
TEST_TO = "test_to"
"""The label that sends a test to one person."""


def receiver(telling: Telling, step: Escalation | None = None) -> str:
    """`ana by mail`, and `ana by mail after 15m` where she is told because nobody acknowledged."""
    name = f"{telling.person.name} by {telling.means}"
    return f"{name} after {format_duration(step.after)}" if step else name
