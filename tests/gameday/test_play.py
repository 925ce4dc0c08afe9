"""Which messages count for a scenario: a judgement that lets one pass unseen is worth nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import Envelope

from tests.gameday.messages import Ledger, MailServer, Message
from tests.gameday.play import Play
from tests.gameday.scenario import Scenario
from tests.gameday.watching import Episode

BEGUN = 1000.0
DOWN = ("OpenWebUIDown", "chat-a", "Open WebUI chat-a does not answer")
PENDING = ("OpenWebUIOnboardingPending", "chat-a", "Open WebUI chat-a has no user")
FULL = ("DaskWorkersLost", "dask-b", "Dask dask-b lost 3 workers")


@dataclass
class Stage:
    ledger: Ledger = field(default_factory=Ledger)
    folder: Path = Path()
    factor: float = 10


@dataclass
class Watch:
    episodes: list[Episode] = field(default_factory=list)

    def begun_since(self, begun: float) -> list[Episode]:
        return [one for one in self.episodes if one.begun >= begun]


class Scene:
    """A play in which each message is put by hand."""

    def __init__(self, lingering: tuple[str, ...] = (), **changes: Any) -> None:
        data = {
            "name": "one",
            "system": "openwebui",
            "break": [{"lose_data": {}}],
            "alert": PENDING[0],
            "labels": {"target": "chat-a"},
            "told": "page",
        }
        self.stage, self.watch = Stage(), Watch()
        told: dict[str, list[str]] = {"ana": ["mail"]}
        scenario = Scenario.model_validate(data | changes)
        self.play = Play(cast(Any, self.stage), cast(Any, self.watch), scenario, told, lingering)
        self.play._begun = BEGUN

    def fires(self, alert: tuple[str, str, str], at: float, until: float | None = None) -> None:
        name, target, summary = alert
        self.watch.episodes.append(Episode({"alertname": name, "target": target}, summary, BEGUN + at, until))

    def mail(self, at: float, *firing: tuple[str, str, str], over: tuple[tuple[str, str, str], ...] = ()) -> None:
        word = "CRITICAL" if firing else "RESOLVED"
        parts = [_part("CRITICAL", one) for one in firing] + [_part("RESOLVED", one) for one in over]
        subject = f"[{word}] gameday: {(*firing, *over)[0][2]}"
        end = "All alerts: http://127.0.0.1/d/cluster-ai-alerts/\n"
        self.stage.ledger.add(Message("mail", "ana@example.org", subject, "".join([*parts, end]), BEGUN + at))

    def problems(self) -> str:
        self.play.result.fired_after = 1.0
        self.play._judge()
        return "; ".join(self.play.result.problems)


def _part(word: str, alert: tuple[str, str, str]) -> str:
    name, target, summary = alert
    return f"{word}  {summary}\nIt is so.\nalertname: {name}\ntarget: {target}\n\n"


def test_good() -> None:
    scene = Scene()
    scene.fires(PENDING, 1, BEGUN + 9)
    scene.mail(2, PENDING)
    scene.mail(10, over=(PENDING,))
    assert scene.problems() == ""


def test_nobody_was_told() -> None:
    scene = Scene()
    scene.fires(PENDING, 1)
    assert scene.problems() == "not told: ana by mail; not told of the end: ana by mail"


def test_told_twice() -> None:
    scene = Scene()
    scene.fires(PENDING, 1)
    scene.mail(2, PENDING)
    scene.mail(3, PENDING)
    scene.mail(10, over=(PENDING,))
    assert scene.problems().startswith("2 messages to ana by mail")


def test_told_twice_of_the_end() -> None:
    scene = Scene()
    scene.fires(PENDING, 1)
    scene.mail(2, PENDING)
    scene.mail(10, over=(PENDING,))
    scene.mail(11, over=(PENDING,))
    assert scene.problems() == "2 times told of the end: ana by mail"


def test_something_else_is_told() -> None:
    scene = Scene()
    scene.fires(PENDING, 1)
    scene.fires(FULL, 1)
    scene.mail(2, PENDING)
    scene.mail(2, FULL)
    scene.mail(10, over=(PENDING,))
    assert "2 messages to ana by mail" in scene.problems()
    assert "also fired: DaskWorkersLost(dask-b)" in scene.problems()


@pytest.mark.parametrize("lingering", [(), ("dask-b",)])
def test_what_is_aside_does_not_hide_its_own(lingering: tuple[str, ...]) -> None:
    scene = Scene(lingering, aside=[DOWN[0]])
    scene.fires(DOWN, 1)
    scene.fires(PENDING, 5)
    scene.mail(2, DOWN)
    scene.mail(6, PENDING, over=(DOWN,))
    scene.mail(12, DOWN, over=(PENDING,))
    scene.mail(18, over=(DOWN, PENDING))
    assert scene.problems() == ""
    scene.mail(19, DOWN, PENDING)
    assert scene.problems().startswith("2 messages to ana by mail")


def test_what_is_aside_may_end_after_its_own() -> None:
    scene = Scene(aside=[DOWN[0]])
    scene.fires(PENDING, 1)
    scene.fires(DOWN, 5)
    scene.mail(2, PENDING)
    scene.mail(6, over=(PENDING,))
    scene.mail(8, DOWN, over=(PENDING,))
    scene.mail(18, over=(PENDING, DOWN))
    assert scene.problems() == ""


def test_something_aside_begins_meanwhile() -> None:
    scene = Scene(aside=[DOWN[0]])
    scene.fires(PENDING, 1)
    scene.fires(DOWN, 5)
    scene.mail(2, PENDING)
    scene.mail(6, PENDING, DOWN)
    scene.mail(10, DOWN, over=(PENDING,))
    scene.mail(12, over=(PENDING, DOWN))
    assert scene.problems() == ""


def test_the_late_end_of_another_fault() -> None:
    scene = Scene()
    scene.mail(0.5, over=(PENDING, FULL))
    scene.fires(PENDING, 1)
    scene.mail(2, PENDING)
    scene.mail(10, over=(FULL, PENDING))
    assert scene.problems() == ""


def test_sms() -> None:
    text = f"FIRING critical, gameday, since 07:42 UTC\n{PENDING[0]}: {PENDING[2]}\nAck: http://127.0.0.1/"
    assert [one.alert for one in Message("sms", "+15550000001", "", text).news] == [PENDING[0]]


def test_mail_as_alertmanager_sends_it() -> None:
    ledger = Ledger()
    text = f"All of this is mended.\n\n{_part('RESOLVED', DOWN)}{_part('RESOLVED', PENDING)}"
    envelope = Envelope()
    envelope.rcpt_tos = ["ana@example.org"]
    envelope.content = f"Subject: [RESOLVED] gameday: two\n\n{text}".replace("\n", "\r\n").encode()
    server = cast(Any, None)
    assert asyncio.run(MailServer(ledger, 0).handle_DATA(server, server, envelope)) == "250 OK"
    [message] = ledger.since(0)
    assert [one.alert for one in message.news] == [DOWN[0], PENDING[0]]
