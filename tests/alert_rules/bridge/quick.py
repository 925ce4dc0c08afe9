"""`cluster-ai sms-bridge` with pauses that tests can wait for; everything else is as it ships."""

from __future__ import annotations

from functools import partial

from alert_rules.bridge import serving
from alert_rules.bridge.cli import sms_bridge

if __name__ == "__main__":
    pace = partial(serving.Pace, looks=(0.1, 0.2, 0.4), lease=2.0, wait=1.0, poll=0.05)
    setattr(serving, "Pace", pace)  # noqa: B010 -- a type to the type checker
    setattr(serving, "TwilioProvider", partial(serving.TwilioProvider, answer=1.0))  # noqa: B010
    serving.SWEEP = 0.3
    serving.REPORTS = 0.3
    sms_bridge()
