"""The phones behind the stand-in for Twilio: what it took is what people read."""

from __future__ import annotations

from tests.gameday.messages import Ledger, Message
from tests.standins.twilio import TwilioStandIn


class Phones(TwilioStandIn):
    """Starts and stops with the stage, and fills its ledger."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        ledger.sources.append(self.messages)

    def messages(self) -> list[Message]:
        """Every SMS so far."""
        return [Message("sms", one.to, "", one.body, one.created) for one in self.taken]

    def start(self) -> None:
        self.__enter__()

    def stop(self) -> None:
        self.__exit__()
