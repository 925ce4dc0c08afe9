"""Bridges and their parts as tests want them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from alert_rules.bridge.delivery import Deliveries
from alert_rules.bridge.handing import Pace
from alert_rules.bridge.instead import Instead
from alert_rules.bridge.ledger import Ledger
from alert_rules.bridge.ledger_file import FileLedger
from alert_rules.bridge.ledger_safe import SafeLedger
from alert_rules.bridge.mail import Mailer
from alert_rules.bridge.metrics import Metrics
from alert_rules.bridge.provider import Provider
from alert_rules.bridge.text import Style
from alert_rules.bridge.twilio import TwilioProvider
from provisioning.config.notifications import Mail, Twilio
from provisioning.config.people import Person
from tests.alert_rules.bridge.posts import STARTED
from tests.standins import twilio as stand_in

ANA = Person(name="ana", email="ana@example.org", sms="+5511999990000", role="operator")
BO = Person(name="bo", sms="+5511999990001", role="operator")  # no mail
START = 1_800_000_000.0
QUICK = Pace(window=3000.0, looks=(0.01, 0.02, 0.03), wait=0.5, poll=0.02)


def account(folder: Path, url: str, **more: Any) -> Twilio:
    """An account at the stand-in."""
    (folder / "secret").write_text(stand_in.API_SECRET)
    (folder / "auth-token").write_text(stand_in.TOKEN)
    keys = {
        "account_sid": stand_in.ACCOUNT,
        "api_key_sid": stand_in.API_KEY,
        "api_key_secret_file": folder / "secret",
        "auth_token_file": folder / "auth-token",
        "sender": stand_in.SENDER,
        "url": url,
    }
    return Twilio.model_validate(keys | more)


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Sending:
    """Deliveries with all their parts at hand."""

    deliveries: Deliveries
    ledger: FileLedger
    metrics: Metrics
    provider: Provider
    clock: Callable[[], float]
    instead: Instead
    more: dict[str, Any] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float:
        found = self.metrics._registry.get_sample_value(name, labels)
        assert found is not None, (name, labels)
        return found

    def results(self) -> dict[str, float]:
        """The results that were counted."""
        from alert_rules.bridge.metrics import RESULTS  # noqa: PLC0415

        counts = {result: self.value("cluster_ai_sms_messages_total", result=result) for result in RESULTS}
        return {result: count for result, count in counts.items() if count}


@asynccontextmanager
async def sending(
    folder: Path,
    provider: Provider | str,
    smarthost: str | None,
    *,
    clock: Callable[[], float] | None = None,
    pace: Pace = QUICK,
    cap: int = 10,
    ledger: Ledger | None = None,
    owner: str = "one",
    **more: Any,
) -> AsyncIterator[Sending]:
    """One bridge's deliveries. `provider` may be a stand-in's URL, `smarthost` a Mailbox's address.

    Its clock goes as ours does, from the moment at which `posts` say that things began: of what is older than half a
    day the date is told, too.
    """
    import time  # noqa: PLC0415

    behind = time.time() - datetime.fromisoformat(STARTED).timestamp()
    clock = clock or (lambda: time.time() - behind)
    metrics = Metrics()
    real = ledger or FileLedger(folder / "ledger.db")
    made = TwilioProvider(account(folder, provider, **more), answer=0.4) if isinstance(provider, str) else provider
    mail = Mail.model_validate({"smarthost": smarthost, "sender": "m@example.org", "tls": False}) if smarthost else None
    instead = Instead(Mailer(mail) if mail else None, "lab", metrics)
    deliveries = Deliveries(
        ledger=SafeLedger(real, metrics.ledger_errors.inc),
        provider=made,
        instead=instead,
        metrics=metrics,
        style=Style("lab", "https://monitoring.example.org"),
        cap=cap,
        owner=owner,
        pace=pace,
        clock=clock,
    )
    try:
        yield Sending(deliveries, real, metrics, made, clock, instead)  # type: ignore[arg-type]
    finally:
        await deliveries.finish()
        await made.close()
        await deliveries.ledger.close()
        await asyncio.sleep(0)


async def until(look: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(seconds):
        while not look():  # noqa: ASYNC110 -- what it looks at is another thread's, or a process's
            await asyncio.sleep(0.005)
