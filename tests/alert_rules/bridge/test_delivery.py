"""No SMS twice, none lost: every way a provider can fail, and what the person has in the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_rules.bridge.delivery import Told, keys_of
from alert_rules.bridge.ledger import LedgerError, State
from alert_rules.bridge.ledger_file import FileLedger
from alert_rules.bridge.provider import Handed, LookError, NotTaken, Refused, Taken, Unknown
from tests.alert_rules.bridge.making import ANA, BO, QUICK, START, Clock, sending, until
from tests.alert_rules.bridge.posts import alert, notification
from tests.ports import free_port
from tests.standins.twilio import INVALID, Fault

FIRES = notification()


async def test_one_notification_is_one_sms(tmp_path, twilio, mailbox):
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        for _ in range(3):
            assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        assert [message.body for message in twilio.to(ANA.sms)] == [(await found(bridge)).body]
        assert bridge.results() == {"sent": 1, "duplicate": 3}
        assert await bridge.deliveries.tell(BO, FIRES) is Told.DONE, "what one was told another was not"
    assert len(twilio.taken) == 2
    assert mailbox.mails == []


async def found(bridge):
    (id,) = [row[0] for row in await bridge.ledger._all("SELECT id FROM messages WHERE person = 'ana'")]
    return await bridge.ledger.get(str(id))


@pytest.mark.parametrize(
    ("fault", "sms", "mails", "result"),
    [
        (None, 1, 0, "sent"),
        (Fault.ERROR_TAKEN, 1, 0, "sent"),
        (Fault.HANG_TAKEN, 1, 0, "sent"),
        (Fault.RESET_TAKEN, 1, 0, "sent"),
        (Fault.GARBAGE_TAKEN, 1, 0, "sent"),
        (Fault.SLOW, 1, 0, "sent"),
        # Not taken: Alertmanager comes again, and then it is sent.
        (Fault.RATE_LIMITED, 1, 0, "waiting"),
        (Fault.ERROR, 1, 0, "waiting"),
        (Fault.UNAVAILABLE, 1, 0, "waiting"),
        (Fault.HANG, 1, 0, "waiting"),
        (Fault.RESET, 1, 0, "waiting"),
    ],
)
async def test_one_fault_and_alertmanager_s_retries(tmp_path, twilio, mailbox, *, fault, sms, mails, result):
    twilio.slowness = 0.1
    if fault:
        twilio.fail(fault)
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        first = await bridge.deliveries.tell(ANA, FIRES)
        assert first is (Told.AGAIN if result == "waiting" else Told.DONE)
        for _ in range(3):
            assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        assert bridge.results()[result] == 1
        assert bridge.results()["sent"] == 1
    assert len(twilio.taken) == sms
    assert len(mailbox.mails) == mails


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.ERROR_TAKEN, Fault.HANG, Fault.HANG_TAKEN, Fault.RESET_TAKEN])
async def test_where_the_outcome_stays_unknown_a_mail_says_so_and_no_sms_follows(tmp_path, twilio, mailbox, fault):
    twilio.fail(fault)
    twilio.list_fails = True
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        for _ in range(3):
            assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        assert bridge.results() == {"unknown": 1, "duplicate": 2}
    assert twilio.posts == 1, "what may have been taken is never handed over again"
    (mail,) = mailbox.mails
    assert mail["To"] == "ana@example.org"
    assert mail["Subject"].startswith("[no SMS, lab] FIRING critical, lab, since 03:12 UTC / DaskSchedulerDown: Sched")
    assert "so the SMS may or may not reach you." in mail.get_content()
    assert "Ack: https://monitoring.example.org/alerting/silence/new?" in mail.get_content()


async def test_a_list_that_fails_at_last_leaves_the_outcome_unknown(tmp_path, mailbox):
    """What was not there a moment ago may be there now."""
    provider = Scripted(["lost answer", "empty", "empty", "list fails"])
    async with sending(tmp_path, provider, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        assert bridge.results() == {"unknown": 1}
    assert provider.taken == 1
    assert len(mailbox.mails) == 1


async def test_a_list_that_is_late_is_looked_at_again(tmp_path, twilio, mailbox):
    twilio.list_delay = 0.2
    twilio.fail(Fault.RESET_TAKEN)
    pace = replace(QUICK, looks=(0.01, 0.02, 0.3))
    async with sending(tmp_path, twilio.url, mailbox.address, pace=pace) as bridge:
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        assert bridge.results() == {"sent": 1}
    assert twilio.posts == 1


async def test_an_earlier_sms_with_the_same_words_is_not_taken_for_this_one(tmp_path, twilio, mailbox):
    """The fault comes back within the minute, so the text is the same; the second POST is lost."""
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        await bridge.deliveries.tell(ANA, FIRES)
        twilio.fail(Fault.RESET)
        back = notification(alert(started="2026-11-23T03:12:40Z"))
        assert await bridge.deliveries.tell(ANA, back) is Told.AGAIN
        assert await bridge.deliveries.tell(ANA, back) is Told.DONE
    assert len(twilio.taken) == 2


async def test_a_refused_number_is_told_by_mail(tmp_path, twilio, mailbox):
    ana = ANA.model_copy(update={"sms": INVALID})
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ana, FIRES) is Told.DONE
        assert await bridge.deliveries.tell(ana, FIRES) is Told.DONE
        assert bridge.results() == {"refused": 1, "duplicate": 1}
        assert bridge.value("cluster_ai_sms_provider_errors_total", reason="number") == 1
        assert bridge.value("cluster_ai_sms_mails_total", result="sent") == 1
    assert "because Twilio answers 400, error 21211" in mailbox.mails[0].get_content()


async def test_who_has_no_mail_is_counted_as_not_told(tmp_path, twilio, mailbox, caplog):
    bo = BO.model_copy(update={"sms": INVALID})
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(bo, FIRES) is Told.DONE
        assert bridge.value("cluster_ai_sms_mails_total", result="failed") == 1
    assert "bo was told neither by SMS" in caplog.text
    assert INVALID not in caplog.text


async def test_a_mail_server_that_fails_lets_alertmanager_come_again(tmp_path, twilio, mailbox):
    ana = ANA.model_copy(update={"sms": INVALID})
    mailbox.refuse = "451 not now"
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ana, FIRES) is Told.AGAIN
        mailbox.refuse = ""
        assert await bridge.deliveries.tell(ana, FIRES) is Told.DONE
        assert await bridge.deliveries.tell(ana, FIRES) is Told.DONE
    assert len(mailbox.mails) == 1


async def test_unknown_and_no_mail_is_asked_again_and_never_posted_again(tmp_path, twilio, mailbox):
    twilio.fail(Fault.HANG_TAKEN)
    twilio.list_fails = True
    mailbox.refuse = "451 not now"
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.AGAIN
        twilio.list_fails = False
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
        assert bridge.results() == {"unknown": 1, "sent": 1}
    assert twilio.posts == 1


async def test_a_long_outage_is_told_by_mail_once_and_by_sms_when_it_ends(tmp_path, twilio, mailbox):
    clock = Clock()
    twilio.fail_always(Fault.RATE_LIMITED)
    async with sending(tmp_path, twilio.url, mailbox.address, clock=clock) as bridge:
        for minute in range(5):
            clock.now = START + 60 * minute
            assert await bridge.deliveries.tell(ANA, FIRES) is Told.AGAIN
        assert len(mailbox.mails) == 1
        assert "the SMS follows when it can" in mailbox.mails[0].get_content()
        twilio.fail_always(None)
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
    assert len(twilio.taken) == 1


async def test_a_fault_that_comes_back_is_told_again(tmp_path, twilio, mailbox):
    back = notification(alert(started="2026-11-23T03:50:00Z"))
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        await bridge.deliveries.tell(ANA, FIRES)
        await bridge.deliveries.tell(ANA, notification(alert(status="resolved")))
        await bridge.deliveries.tell(ANA, back)
        await bridge.deliveries.tell(ANA, back)
    assert [message.body.split()[0] for message in twilio.taken] == ["FIRING", "RESOLVED", "FIRING"]


async def test_what_repeats_is_told_again_after_the_window_and_not_before(tmp_path, twilio, mailbox):
    clock = Clock()
    async with sending(tmp_path, twilio.url, mailbox.address, clock=clock) as bridge:
        for after, sms in ((0, 1), (600, 1), (QUICK.window - 1, 1), (QUICK.window / 0.9, 2), (QUICK.window * 1.2, 2)):
            clock.now = START + after
            await bridge.deliveries.tell(ANA, FIRES)
            assert len(twilio.taken) == sms, after


async def test_one_more_alert_in_a_group_is_told_and_one_less_is_not(tmp_path, twilio, mailbox):
    one, two = alert(), alert("DaskWorkerLost", "w1 was lost", severity="warning", worker="w1")
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        await bridge.deliveries.tell(ANA, notification(one))
        await bridge.deliveries.tell(ANA, notification(one, two))
        await bridge.deliveries.tell(ANA, notification(one, two | {"status": "resolved"}))
        await bridge.deliveries.tell(ANA, notification(one))  # another Alertmanager, a little behind
    assert [message.body.splitlines()[0] for message in twilio.taken] == [
        "FIRING critical, lab, since 03:12 UTC",
        "FIRING 2 alerts, critical, lab, since 03:12 UTC",
    ]


async def test_routes_are_told_apart(tmp_path, twilio, mailbox):
    """Escalation to somebody who was told at first is another message."""
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        await bridge.deliveries.tell(ANA, notification(group="a"))
        await bridge.deliveries.tell(ANA, notification(group="b", receiver="ana by sms after 15m"))
    assert len(twilio.taken) == 2


async def test_the_cap_is_said_by_its_last_sms_and_the_rest_goes_by_mail(tmp_path, twilio, mailbox):
    clock = Clock()
    async with sending(tmp_path, twilio.url, mailbox.address, clock=clock, cap=3) as bridge:
        for n in range(6):
            assert await bridge.deliveries.tell(ANA, notification(alert(f"Alert{n}"))) is Told.DONE
        assert bridge.results() == {"sent": 3, "capped": 3}
        said = ["SMS 3 of 3 this hour, the next ones go by mail." in message.body for message in twilio.taken]
        assert said == [False, False, True]
        assert len(mailbox.mails) == 3
        assert "ana had 3 SMS within the hour" in mailbox.mails[0].get_content()
        await bridge.deliveries.tell(BO, FIRES)
        assert len(twilio.to(BO.sms)) == 1, "each person has a cap of their own"
        clock.now = START + 3601
        await bridge.deliveries.tell(ANA, notification(alert("Alert9")))
        assert len(twilio.to(ANA.sms)) == 4


async def test_many_at_once_stay_within_the_cap(tmp_path, twilio, mailbox):
    async with sending(tmp_path, twilio.url, mailbox.address, cap=3) as bridge:
        notes = [notification(alert(f"Alert{n}")) for n in range(8)]
        await asyncio.gather(*(bridge.deliveries.tell(ANA, note) for note in notes))
    assert len(twilio.taken) == 3
    assert len(mailbox.mails) == 5


async def test_the_same_many_times_at_once_is_one_sms(tmp_path, twilio, mailbox):
    twilio.slowness = 0.1
    twilio.fail(Fault.SLOW)
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        told = await asyncio.gather(*(bridge.deliveries.tell(ANA, FIRES) for _ in range(20)))
    assert set(told) == {Told.DONE}
    assert twilio.posts == 1


async def test_who_hangs_up_does_not_stop_a_message(tmp_path, twilio, mailbox):
    twilio.slowness = 0.2
    twilio.fail(Fault.SLOW)
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        caller = asyncio.create_task(bridge.deliveries.tell(ANA, FIRES))
        await until(lambda: bridge.deliveries.unsettled)
        caller.cancel()
        assert await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
    assert twilio.posts == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_a_bridge_that_is_gone_is_cleared_up_after(tmp_path, twilio, mailbox, taken):
    """What it had in hand is sent if the provider lacks it, without Alertmanager coming again."""
    twilio.fail(Fault.HANG_TAKEN if taken else Fault.HANG)
    async with sending(tmp_path, twilio.url, mailbox.address) as first:
        caller = asyncio.create_task(first.deliveries.tell(ANA, FIRES))
        await until(lambda: twilio.posts and (twilio.taken or not taken))
        await first.deliveries.finish()
        caller.cancel()
    async with sending(tmp_path, twilio.url, mailbox.address) as second:
        await second.deliveries.sweep({"ana": ANA}.get)
        assert len(twilio.taken) == int(taken), "another life may be at work on it"
        await second.deliveries.ledger.abandon("one")
        await second.deliveries.sweep({"ana": ANA}.get)
        assert len(twilio.taken) == 1
        assert await second.deliveries.tell(ANA, FIRES) is Told.DONE
        assert second.results() == {"sent": 1, "duplicate": 1}
    assert len(twilio.taken) == 1
    assert mailbox.mails == []


async def test_a_message_that_is_looked_into_by_many_at_once_is_sent_once(tmp_path, twilio, mailbox):
    """Alertmanager's retries and the bridge's own sweep find the same message that an earlier life left."""
    async with sending(tmp_path, twilio.url, mailbox.address, owner="gone") as gone:
        twilio.fail(Fault.HANG)
        caller = asyncio.create_task(gone.deliveries.tell(ANA, FIRES))
        await until(lambda: twilio.posts)
        await gone.deliveries.finish()
        caller.cancel()
        await gone.deliveries.ledger.abandon("gone")
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        people = {"ana": ANA}
        sweeps = [bridge.deliveries.sweep(people.get) for _ in range(3)]
        told = await asyncio.gather(*sweeps, *(bridge.deliveries.tell(ANA, FIRES) for _ in range(5)))
        assert set(told[3:]) == {Told.DONE}
        assert bridge.results()["sent"] == 1
    assert len(twilio.taken) == 1


async def test_a_message_in_another_s_hand_is_waited_for(tmp_path, twilio, mailbox):
    twilio.slowness = 0.3
    twilio.fail(Fault.SLOW)
    async with (
        sending(tmp_path, twilio.url, mailbox.address, owner="one") as one,
        sending(tmp_path, twilio.url, mailbox.address, owner="two") as two,
    ):
        first = asyncio.create_task(one.deliveries.tell(ANA, FIRES))
        await until(lambda: one.deliveries.unsettled)
        assert await two.deliveries.tell(ANA, FIRES) is Told.DONE
        assert await first is Told.DONE
        assert two.results() == {"duplicate": 1}
    assert twilio.posts == 1


async def test_a_message_that_stays_in_another_s_hand_is_not_sent_by_us(tmp_path, twilio, mailbox):
    twilio.fail(Fault.HANG)
    async with (
        sending(tmp_path, twilio.url, mailbox.address, owner="one", pace=replace(QUICK, looks=(5.0,))) as one,
        sending(tmp_path, twilio.url, mailbox.address, owner="two") as two,
    ):
        first = asyncio.create_task(one.deliveries.tell(ANA, FIRES))
        await until(lambda: one.deliveries.unsettled)
        assert await two.deliveries.tell(ANA, FIRES) is Told.AGAIN
        first.cancel()
    assert twilio.posts == 1


class Flaky(FileLedger):
    fails = False

    async def _run(self, work):
        if self.fails:
            raise LedgerError("database or disk is full")
        return await super()._run(work)


async def test_a_ledger_that_fails_stops_no_sms_and_doubles_none(tmp_path, twilio, mailbox):
    """Two bridges that share a ledger which fails: each asks the provider before it sends."""
    ledgers = [Flaky(tmp_path / "ledger.db") for _ in range(2)]
    async with (
        sending(tmp_path, twilio.url, mailbox.address, owner="one", ledger=ledgers[0]) as one,
        sending(tmp_path, twilio.url, mailbox.address, owner="two", ledger=ledgers[1]) as two,
    ):
        for ledger in ledgers:
            ledger.fails = True
        assert await one.deliveries.tell(ANA, FIRES) is Told.DONE
        assert await two.deliveries.tell(ANA, FIRES) is Told.DONE
        assert await one.deliveries.tell(ANA, FIRES) is Told.DONE
        assert twilio.posts == 1
        assert one.value("cluster_ai_sms_ledger_errors_total") > 0
        for ledger in ledgers:
            ledger.fails = False
        assert await two.deliveries.tell(ANA, FIRES) is Told.DONE
        assert await two.deliveries.tell(ANA, notification(alert("Other"))) is Told.DONE
    assert twilio.posts == 2


async def test_a_ledger_that_fails_while_sending_is_told_later(tmp_path, twilio, mailbox):
    twilio.slowness = 0.2
    twilio.fail(Fault.SLOW)
    ledger = Flaky(tmp_path / "ledger.db")
    async with sending(tmp_path, twilio.url, mailbox.address, ledger=ledger) as bridge:
        first = asyncio.create_task(bridge.deliveries.tell(ANA, FIRES))
        await until(lambda: bridge.deliveries.unsettled)
        ledger.fails = True
        assert await first is Told.DONE
        ledger.fails = False
        await bridge.deliveries.sweep({"ana": ANA}.get)
        assert (await found(bridge)).state is State.SENT
    assert twilio.posts == 1


async def test_nothing_of_a_number_or_secret_is_logged(tmp_path, twilio, mailbox, caplog):
    caplog.set_level("DEBUG", logger="alert_rules")
    async with sending(tmp_path, twilio.url, mailbox.address) as bridge:
        for fault in Fault:
            twilio.fail(fault)
            await bridge.deliveries.tell(ANA, notification(alert(fault.name.title().replace("_", ""))))
    async with sending(tmp_path, f"http://127.0.0.1:{free_port()}", mailbox.address) as bridge:
        await bridge.deliveries.tell(ANA, FIRES)
    assert "ana" in caplog.text
    for secret in ("5511999990000", "ana@example.org", "the-api-key-s-secret", "the-account-s-auth-token"):
        assert secret not in caplog.text


@dataclass
class Scripted:
    """A provider that does what a list of outcomes says, and knows what it truly took."""

    script: list[str]
    taken: int = 0
    knows: bool = True
    reports: bool = False

    async def send(self, to: str, body: str, id: str, /) -> Handed:
        outcome = self.script.pop(0) if self.script else "taken"
        if outcome in ("taken", "lost answer"):
            self.taken += 1
        return {
            "taken": Taken(f"SM{self.taken}"),
            "lost answer": Unknown("timeout", "no answer"),
            "lost request": Unknown("timeout", "no answer"),
            "not taken": NotTaken("unreachable", "nobody there"),
            "refused": Refused("number", "no"),
        }[outcome]

    async def find(self, to: str, body: str, since: float, /) -> list[str]:
        if self.script and self.script[0] in ("list fails", "empty"):
            if self.script.pop(0) == "empty":
                return []
            raise LookError("the list fails")
        if not self.knows:
            raise LookError("there is no list")
        return [f"SM{n + 1}" for n in range(self.taken)]

    async def delivery(self, sid: str, /) -> tuple[str, str]:
        raise LookError("not here")

    async def close(self) -> None:
        """Nothing."""


STEPS = st.lists(
    st.sampled_from(["taken", "lost answer", "lost request", "not taken", "refused", "list fails"]), max_size=8
)


@given(script=STEPS, knows=st.booleans(), restarts=st.lists(st.booleans(), min_size=6, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_at_most_one_sms_and_at_least_one_message(
    script, knows, restarts, tmp_path_factory, monkeypatch
):
    """Alertmanager comes again until it is answered 200; the bridge restarts in between, or not."""
    asyncio.run(_whatever(list(script), knows, restarts, tmp_path_factory.mktemp("any"), monkeypatch))


async def _whatever(script: list[str], knows: bool, restarts: list[bool], folder: Path, monkeypatch) -> None:
    mails = []

    async def send(_self, to, _subject, _text):
        mails.append(to)

    monkeypatch.setattr("alert_rules.bridge.mail.Mailer.send", send)
    provider = Scripted(script, knows=knows)
    pace = replace(QUICK, looks=(0.0, 0.0, 0.0))
    done = False
    for restart in [*restarts, False]:
        async with sending(folder, provider, "127.0.0.1:25", pace=pace) as bridge:
            await bridge.deliveries.ledger.abandon("one")
            for _ in range(1 if restart else 3):
                done = await bridge.deliveries.tell(ANA, FIRES) is Told.DONE or done
    while not done:  # what is left of the script is used up
        async with sending(folder, provider, "127.0.0.1:25", pace=pace) as bridge:
            done = await bridge.deliveries.tell(ANA, FIRES) is Told.DONE
    assert provider.taken <= 1
    assert provider.taken + len(mails) >= 1


def test_keys_tell_apart_what_must_be_told():
    base = keys_of("ana", FIRES)
    assert keys_of("ana", notification()) == base
    others = [
        keys_of("bo", FIRES),
        keys_of("ana", notification(group="other")),
        keys_of("ana", notification(alert(status="resolved"))),
        keys_of("ana", notification(alert(started="2026-11-23T03:12:00.123456788Z"))),
        keys_of("ana", notification(alert(worker="w1"))),
    ]
    assert len({tuple(keys) for keys in [base, *others]}) == 6
    assert keys_of("ana", notification(truncatedAlerts=3)) == [
        *base,
        keys_of("ana", notification(truncatedAlerts=3))[1],
    ]
