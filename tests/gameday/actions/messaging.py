"""What goes wrong between the stack and people: mail servers and Twilio."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage


@action
async def mail_dead(stage: Stage) -> AsyncIterator[None]:
    """Nobody listens where the mail server was."""
    stage.mail.stop()
    yield
    stage.mail.start()


@action
async def mail_refuses(stage: Stage, answer: str) -> AsyncIterator[None]:
    """The mail server takes no mail, with this answer."""
    stage.mail.answer = answer
    yield
    stage.mail.answer = None


@action
async def twilio_fails(stage: Stage, status: int = 201, delay: float = 0.0) -> AsyncIterator[None]:
    """Twilio answers with another status, or late."""
    stage.phones.status, stage.phones.delay = status, delay
    yield
    stage.phones.status, stage.phones.delay = 201, 0.0
