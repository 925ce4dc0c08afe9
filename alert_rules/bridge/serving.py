"""The bridge as a process: from its start to SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from alert_rules.bridge.apprise_provider import AppriseProvider
from alert_rules.bridge.delivery import Deliveries
from alert_rules.bridge.handing import Pace
from alert_rules.bridge.heartbeat import Beat
from alert_rules.bridge.instead import Instead
from alert_rules.bridge.ledger import Ledger
from alert_rules.bridge.ledger_file import FileLedger
from alert_rules.bridge.ledger_redis import RedisLedger
from alert_rules.bridge.ledger_safe import SafeLedger
from alert_rules.bridge.mail import Mailer
from alert_rules.bridge.metrics import Metrics
from alert_rules.bridge.provider import DryRun, Provider
from alert_rules.bridge.reports import Reports
from alert_rules.bridge.text import Style
from alert_rules.bridge.twilio import TwilioProvider
from alert_rules.bridge.web import Bridge, Callback
from exporter.door.listen import Address
from exporter.door.server import Server
from exporter.door.settings import WebSettings
from provisioning.config.model import Config
from provisioning.config.notifications import Sms
from provisioning.config.people import Person
from provisioning.config.secrets import SecretFile

log = logging.getLogger(__name__)
SWEEP = 15.0  # s between looks for messages that nobody has in hand
REPORTS = 30.0  # s between looks for delivery reports, where the provider does not push them
_OF_THE_REPEAT = 0.9  # of the pause after which Alertmanager repeats: what is told is not told again before


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What the bridge must know that `cluster-ai.yml` does not say."""

    token: Path
    """The bearer token that Alertmanager sends."""
    ledger: Path
    """The file of what was told; not used where there is a Redis."""
    owner: str
    """The same after a restart, and another one for each bridge."""
    redis: Path | None = None
    """File with the address of the Redis of what was told, where `cluster-ai.yml` names none."""


async def serve(
    config: Config, places: Places, settings: WebSettings, addresses: Sequence[Address | socket.socket]
) -> None:
    """Serve until SIGTERM or SIGINT. Messages in hand get a few seconds to end; what is left is looked into later.

    Raises OSError when an address is taken, LedgerError or MissingAppriseError when a library is missing.
    """
    metrics = Metrics()
    people = {person.name: person for person in config.people if person.sms is not None}
    heartbeat = config.notifications.heartbeat
    beat = Beat(heartbeat) if heartbeat else None
    sms = config.notifications.sms
    sending = _Sending(config, sms, people, places, metrics) if sms else None
    bridge = Bridge(
        token=SecretFile(places.token),
        people=people,
        deliveries=sending.deliveries if sending else None,
        reports=sending.reports if sending else None,
        callback=_callback(sms) if sms else None,
        beat=beat,
        metrics=metrics,
        settings=settings,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Server(bridge.application(), settings)
    background = await sending.begin() if sending else []
    try:
        for url in await server.start(addresses):
            log.info("serving on %s", url)
        if os.geteuid() == 0:
            log.warning("running as root, which nothing here needs; run it as a user of its own")
        await stop.wait()
        log.info("stopping")
    finally:
        await server.stop()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if sending:
            await sending.end()
        if beat:
            await beat.close()


class _Sending:
    """What there is only where SMS are configured."""

    def __init__(self, config: Config, sms: Sms, people: dict[str, Person], places: Places, metrics: Metrics) -> None:
        notifications = config.notifications
        mailer = Mailer(notifications.mail) if notifications.mail else None
        instead = Instead(mailer, config.name, metrics)
        redis = sms.redis_url_file or places.redis
        ledger: Ledger = RedisLedger(SecretFile(redis)) if redis else FileLedger(places.ledger)
        self._ledger = SafeLedger(ledger, failed=metrics.ledger_errors.inc)
        self._provider = _provider(sms)
        self._people = people
        self._owner = places.owner
        self._pushed = _callback(sms) is not None
        self.deliveries = Deliveries(
            ledger=self._ledger,
            provider=self._provider,
            instead=instead,
            metrics=metrics,
            style=Style(config.name, config.grafana_url, ZoneInfo(notifications.zone)),
            cap=sms.hourly_cap,
            owner=places.owner,
            pace=Pace(window=notifications.timing.repeat_sms * _OF_THE_REPEAT),
        )
        self.reports = Reports(self._ledger, instead, metrics, people.get, time.time)

    async def begin(self) -> list[asyncio.Task[None]]:
        """What an earlier life of this bridge had in hand is looked into at once."""
        await self._ledger.abandon(self._owner)
        tasks = [asyncio.create_task(_every(SWEEP, lambda: self.deliveries.sweep(self._people.get)))]
        if self._provider.reports and not self._pushed:
            tasks.append(asyncio.create_task(_every(REPORTS, lambda: self.reports.ask(self._provider))))
        return tasks

    async def end(self) -> None:
        await self.deliveries.finish()
        await self._provider.close()
        await self._ledger.close()


def _provider(sms: Sms) -> Provider:
    if sms.dry_run:
        log.warning("dry run: messages go to this log and to nobody's phone")
        return DryRun()
    if sms.twilio is not None:
        return TwilioProvider(sms.twilio)
    assert sms.apprise is not None  # noqa: S101 -- the model asks for one of the two
    return AppriseProvider(sms.apprise)


def _callback(sms: Sms) -> Callback | None:
    twilio = sms.twilio
    if sms.dry_run or twilio is None or twilio.status_callback is None or twilio.auth_token_file is None:
        return None
    return Callback(twilio.status_callback, SecretFile(twilio.auth_token_file))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("something unexpected went wrong in the background; it is tried again")
        await asyncio.sleep(seconds)
