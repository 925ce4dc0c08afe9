"""What goes wrong between the stack and people: mail servers and Twilio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.standins.twilio import Fault


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
async def twilio_fails(stage: Stage, fault: str, slowness: float = 1.0) -> AsyncIterator[None]:
    """Every message meets a fault: a name of twilio.Fault."""
    stage.phones.slowness = slowness
    stage.phones.fail_always(Fault[fault])
    yield
    stage.phones.fail_always(None)


@action
async def wrong_secret(stage: Stage, file: str) -> AsyncIterator[None]:
    """A secret was changed elsewhere: the file that the stack has is no longer right."""
    path = stage.folder / "secrets" / file
    right = path.read_text()
    path.write_text("revoked")
    yield
    path.write_text(right)


@action
async def heartbeat_refused(stage: Stage) -> AsyncIterator[None]:
    """The outside service does not know our address any more."""
    stage.heartbeats.status = HTTPStatus.NOT_FOUND
    yield
    stage.heartbeats.status = HTTPStatus.OK
