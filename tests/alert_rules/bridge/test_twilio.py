"""The client against Twilio's documented contract, and what each answer allows us to do next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from alert_rules.bridge.provider import LookError, NotTaken, Refused, Taken, Unknown
from alert_rules.bridge.twilio import TwilioProvider, signature
from tests.alert_rules.bridge.making import account
from tests.ports import free_port
from tests.standins import twilio as stand_in
from tests.standins.twilio import Fault, TwilioStandIn

TO = "+5511999990000"


async def send(folder: Path, url: str, to: str = TO, body: str = "it broke", **more: Any) -> Any:
    provider = TwilioProvider(account(folder, url, **more), answer=0.4)
    try:
        return await provider.send(to, body, "id1")
    finally:
        await provider.close()


async def test_a_message_is_taken(tmp_path, twilio):
    handed = await send(tmp_path, twilio.url)
    (message,) = twilio.taken
    assert handed == Taken(message.sid)
    assert (message.to, message.body, message.sender) == (TO, "it broke", stand_in.SENDER)
    assert message.callback == ""


async def test_the_account_s_own_token_gets_in_too(tmp_path, twilio):
    more = {"api_key_sid": None, "api_key_secret_file": None}
    assert isinstance(await send(tmp_path, twilio.url, **more), Taken)


async def test_delivery_reports_are_asked_for_under_our_own_name_of_the_message(tmp_path, twilio):
    await send(tmp_path, twilio.url, status_callback="https://monitoring.example.org/sms/status")
    assert twilio.taken[0].callback == "https://monitoring.example.org/sms/status?message=id1"


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "taken"),
    [
        (Fault.RATE_LIMITED, NotTaken, "rate_limited", 0),
        (Fault.ERROR, Unknown, "server_error", 0),
        (Fault.ERROR_TAKEN, Unknown, "server_error", 1),
        (Fault.UNAVAILABLE, Unknown, "server_error", 0),
        (Fault.HANG, Unknown, "timeout", 0),
        (Fault.HANG_TAKEN, Unknown, "timeout", 1),
        (Fault.RESET, Unknown, "broken_answer", 0),
        (Fault.RESET_TAKEN, Unknown, "broken_answer", 1),
        (Fault.GARBAGE_TAKEN, Unknown, "broken_answer", 1),
    ],
)
async def test_what_may_have_been_taken_is_never_said_not_to_be(tmp_path, twilio, *, fault, kind, reason, taken):
    twilio.fail(fault)
    handed = await send(tmp_path, twilio.url)
    assert type(handed) is kind
    assert handed.reason == reason
    assert len(twilio.taken) == taken
    assert twilio.posts == 1


async def test_a_slow_answer_is_waited_for(tmp_path, twilio):
    twilio.slowness = 0.2
    twilio.fail(Fault.SLOW)
    assert isinstance(await send(tmp_path, twilio.url), Taken)


@pytest.mark.parametrize(
    ("to", "more", "reason", "says"),
    [
        (stand_in.INVALID, {}, "number", "error 21211"),
        (stand_in.STOPPED, {}, "number", "https://www.twilio.com/docs/api/errors/21610"),
        (TO, {"account_sid": "AC" + "f" * 32}, "account", "answers 404, error 20404"),
        (TO, {"api_key_sid": "SK" + "f" * 32}, "account", "answers 401, error 20003"),
    ],
)
async def test_a_refusal_says_why(tmp_path, twilio, *, to, more, reason, says):
    handed = await send(tmp_path, twilio.url, to, **more)
    assert isinstance(handed, Refused)
    assert handed.reason == reason
    assert says in handed.why
    assert to not in handed.why


async def test_nobody_there_is_not_taken_for_certain(tmp_path):
    handed = await send(tmp_path, f"http://127.0.0.1:{free_port()}")
    assert isinstance(handed, NotTaken)
    assert handed.reason == "unreachable"


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "https://127.0.0.1:{port}"])
async def test_no_name_and_no_tls_are_not_taken_for_certain(tmp_path, twilio, url):
    handed = await send(tmp_path, url.format(port=twilio.port))
    assert isinstance(handed, NotTaken)


async def test_a_secret_that_is_not_there_is_said_and_may_come(tmp_path, twilio):
    provider = TwilioProvider(account(tmp_path, twilio.url))
    (tmp_path / "secret").unlink()
    handed = await provider.send(TO, "it broke", "id1")
    assert isinstance(handed, NotTaken)
    assert handed.reason == "secret"
    assert str(tmp_path / "secret") in handed.why
    (tmp_path / "secret").write_text(stand_in.API_SECRET)
    assert isinstance(await provider.send(TO, "it broke", "id1"), Taken)
    await provider.close()


async def test_an_answer_that_comes_a_byte_at_a_time_ends(tmp_path, twilio, monkeypatch):
    """httpx's own limit is for each read."""

    class Drip(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            async def drip():
                import asyncio  # noqa: PLC0415

                while True:
                    await asyncio.sleep(0.05)
                    yield b" "

            return httpx.Response(201, content=drip())

    provider = TwilioProvider(account(tmp_path, twilio.url), answer=0.3)
    provider._whole = 0.5
    await provider._http.aclose()
    provider._http = httpx.AsyncClient(transport=Drip())
    begun = time.monotonic()
    assert isinstance(await provider.send(TO, "it broke", "id1"), Unknown)
    assert time.monotonic() - begun < 5
    await provider.close()


async def found(folder: Path, twilio: TwilioStandIn, body: str = "it broke", since: float = 0.0) -> list[str]:
    provider = TwilioProvider(account(folder, twilio.url), answer=0.4)
    try:
        return await provider.find(TO, body, since)
    finally:
        await provider.close()


async def test_the_list_knows_what_was_taken(tmp_path, twilio):
    before = time.time() - 1
    await send(tmp_path, twilio.url)
    await send(tmp_path, twilio.url, body="something else")
    await send(tmp_path, twilio.url, "+5511999990009")
    assert await found(tmp_path, twilio, since=before) == [twilio.taken[0].sid]
    assert await found(tmp_path, twilio, since=time.time() + 5) == []
    assert twilio.taken[0].status == "queued", "what has no DateSent yet is found all the same"


async def test_a_trial_account_s_words_do_not_hide_a_message(tmp_path, twilio):
    twilio.trial = True
    await send(tmp_path, twilio.url)
    assert await found(tmp_path, twilio) == [twilio.taken[0].sid]


async def test_a_list_that_cannot_be_had_is_not_an_empty_one(tmp_path, twilio):
    twilio.list_fails = True
    with pytest.raises(LookError, match="answers 500"):
        await found(tmp_path, twilio)


@pytest.mark.parametrize("answer", ["[]", "{}", '{"messages": 1}', "no json", '{"messages"'])
async def test_a_list_that_makes_no_sense_is_not_an_empty_one(tmp_path, twilio, answer):
    provider = TwilioProvider(account(tmp_path, twilio.url))
    await provider._http.aclose()
    provider._http = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=answer)))
    with pytest.raises(LookError):
        await provider.find(TO, "it broke", 0.0)
    await provider.close()


async def test_the_delivery_of_a_message_can_be_asked(tmp_path, twilio):
    await send(tmp_path, twilio.url)
    provider = TwilioProvider(account(tmp_path, twilio.url))
    sid = twilio.taken[0].sid
    assert await provider.delivery(sid) == ("queued", "")
    twilio.report(twilio.taken[0], "undelivered", 30003)
    assert await provider.delivery(sid) == ("undelivered", "30003")
    with pytest.raises(LookError, match="404"):
        await provider.delivery("SM0")
    await provider.close()


def test_the_signature_of_twilio_s_documentation():
    """The example of https://www.twilio.com/docs/usage/security and of Twilio's own libraries' tests."""
    form = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url, form) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert signature("12345", url, reversed(form)) == stand_in.sign("12345", url, dict(form))
