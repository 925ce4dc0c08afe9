"""What happens when an SMS does not reach a person: a mail that says so and carries its text."""

from __future__ import annotations

import logging
from enum import Enum

from alert_rules.bridge.mail import Mailer, MailError
from alert_rules.bridge.metrics import Metrics
from provisioning.config.people import Person

log = logging.getLogger(__name__)


class Mailed(Enum):
    """What came of a mail."""

    SENT = "sent"
    FAILED = "failed"
    """Not now; perhaps later."""
    IMPOSSIBLE = "impossible"
    """There is no account to send from or no address to send to."""


class Instead:
    """Mails in place of SMS."""

    def __init__(self, mailer: Mailer | None, cluster: str, metrics: Metrics) -> None:
        """`cluster`: the installation's name."""
        self._mailer = mailer
        self._cluster = cluster
        self._metrics = metrics

    async def mail(self, person: Person, body: str, why: str) -> Mailed:
        """Sends the text of the SMS. `why` is a sentence without its full stop."""
        if self._mailer is None:
            return self._failed(person, why, "notifications.mail is not configured", Mailed.IMPOSSIBLE)
        if person.email is None:
            return self._failed(person, why, "they have no email in the configuration", Mailed.IMPOSSIBLE)
        try:
            await self._mailer.send(person.email, f"[no SMS, {self._cluster}] {_first_lines(body)}", _text(body, why))
        except MailError as error:
            return self._failed(person, why, str(error), Mailed.FAILED)
        self._metrics.mails.labels("sent").inc()
        log.warning("%s was told by mail in place of an SMS: %s", person.name, why)
        return Mailed.SENT

    def _failed(self, person: Person, why: str, problem: str, result: Mailed) -> Mailed:
        self._metrics.mails.labels("failed").inc()
        log.error("%s was told neither by SMS (%s) nor by mail: %s", person.name, why, problem)
        return result


def _first_lines(body: str) -> str:
    """For the subject: what fires, and the first alert."""
    return " / ".join(body.splitlines()[:2])


def _text(body: str, why: str) -> str:
    return f"This mail comes in place of an SMS, because {why}.\n\n{body}\n"
