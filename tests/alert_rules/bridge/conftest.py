from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.standins.mailbox import Mailbox
from tests.standins.redis_server import Redis, running
from tests.standins.twilio import TwilioStandIn


@pytest.fixture
def redis(tmp_path) -> Iterator[Redis]:
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def twilio() -> Iterator[TwilioStandIn]:
    with TwilioStandIn() as standing:
        yield standing


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box
