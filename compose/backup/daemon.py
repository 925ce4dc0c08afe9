"""`cluster-ai backup run`: nightly backups and weekly tests, until it is told to end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from compose.backup import state, work
from compose.backup.making import FOLDER
from compose.backup.manifest import BackupError, backups
from compose.backup.schedule import backup_is_due, check_is_due
from provisioning.secrets.installation import Installation

log = logging.getLogger(__name__)
LOOK = 30.0  # s between looks at the clock, which may jump
PAUSE = 900.0  # s before what failed is tried again


class Daemon:
    """Does what is due; `clock` is the time of day, `watch` one that does not jump."""

    def __init__(
        self,
        there: Installation,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        watch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._there = there
        self._clock = clock
        self._watch = watch
        self._again: dict[str, float] = {}
        """When what failed may be tried again."""

    def run(self) -> None:
        """Until SIGTERM or SIGINT. What is at work then leaves nothing half-done under a backup's name."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        log.info("a backup every day at %s UTC, a test every %s", *self._times)
        while not stop.is_set():
            self.look()
            stop.wait(LOOK)

    def look(self) -> None:
        """Does what is due now."""
        settings = self._there.production.backup
        now, made = self._clock(), self._made()
        if backup_is_due(settings, made, now):
            self._try("backup", work.backup, now)
            made = self._made()
        known = state.load(self._there)
        tested = datetime.fromtimestamp(known.verified, UTC) if known.verified else None
        if tested and not known.well and max(made, default=tested) > tested:
            tested = None  # the one that was not good is no longer the newest
        if check_is_due(settings, tested, made, now):
            self._try("test", work.verify, now)

    @property
    def _times(self) -> tuple[str, str]:
        return self._there.production.backup.at, self._there.production.backup.check

    def _made(self) -> list[datetime]:
        return list(backups(self._there.folder / FOLDER).values())

    def _try(self, what: str, do: Callable[[Installation, datetime, work.Say], Path], now: datetime) -> None:
        if self._watch() < self._again.get(what, 0.0):
            return
        try:
            do(self._there, now, log.info)
        except BackupError as error:
            log.error("%s failed: %s", what, error)  # noqa: TRY400 -- the reason is in the message
            self._again[what] = self._watch() + PAUSE
        else:
            self._again.pop(what, None)
