"""Twilio's Messages API as its documentation describes it, on loopback, with the faults that people meet.

`with TwilioStandIn() as twilio:` serves at `twilio.url` from a thread of its own; `twilio.taken` is what would go to
phones. Faults are given with `twilio.fail(...)`. Run as a program it serves until it is stopped:
`python -m tests.standins.twilio PORT`.

Documentation: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/api/errors.
It shares no code with the product.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import Any, Self

import aiohttp
from aiohttp import web

ACCOUNT = "AC" + "0" * 31 + "1"
TOKEN = "the-account-s-auth-token"
API_KEY = "SK" + "0" * 31 + "2"
API_SECRET = "the-api-key-s-secret"
SENDER = "+15550001111"
INVALID = "+15005550001"  # Twilio's own magic number for "not a valid number"
STOPPED = "+15005550004"  # ... and for one whose owner answered STOP
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_PAIRS = "\f^{}\\[~]|€"


class Fault(Enum):
    """What goes wrong with a POST of a message. TAKEN: Twilio has the message all the same."""

    RATE_LIMITED = "429, error 20429"
    ERROR = "500, error 20500, and the message is lost"
    ERROR_TAKEN = "500, error 20500"
    UNAVAILABLE = "503, and the message is lost"
    HANG = "no answer at all"
    HANG_TAKEN = "no answer at all, though taken"
    RESET = "the connection is reset before the message is read"
    RESET_TAKEN = "the connection is reset in the middle of the answer"
    GARBAGE_TAKEN = "201 with half of its JSON"
    SLOW = "201 after `slowness` seconds"
    UNREGISTERED = "201, and the message fails on its way (30034)"


_LOST = {
    Fault.RATE_LIMITED: (429, 20429, "Too Many Requests"),
    Fault.ERROR: (500, 20500, "Internal Server Error"),
    Fault.UNAVAILABLE: (503, 20503, "Service Unavailable"),
}


@dataclass
class Message:
    """A message that Twilio has."""

    sid: str
    to: str
    sender: str
    body: str
    created: float
    callback: str = ""
    status: str = "queued"
    error: int | None = None

    @property
    def segments(self) -> int:
        return segments(self.body)


def segments(body: str) -> int:
    """As Twilio bills them: no character is torn between two segments."""
    if all(char in _GSM or char in _GSM_PAIRS for char in body):
        sizes, single, joined = [2 if char in _GSM_PAIRS else 1 for char in body], 160, 153
    else:
        sizes, single, joined = [len(char.encode("utf-16-le")) // 2 for char in body], 70, 67
    if sum(sizes) <= single:
        return 1
    count, room = 0, 0
    for size in sizes:
        if size > room:
            count, room = count + 1, joined
        room -= size
    return count


@dataclass
class TwilioStandIn:
    port: int = 0
    slowness: float = 1.0
    list_delay: float = 0.0
    """Seconds until a message that was taken shows in the list."""
    trial: bool = False
    """A trial account puts words of its own before each text."""
    posts: int = 0
    """POSTs of messages that reached it, whatever came of them."""
    looks: int = 0
    taken: list[Message] = field(default_factory=list)
    list_fails: bool = False
    _faults: deque[Fault] = field(default_factory=deque)
    _always: Fault | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    # What tests and the game day say

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, *faults: Fault) -> None:
        """The next POSTs meet these faults, one each."""
        self._faults.extend(faults)

    def fail_always(self, fault: Fault | None) -> None:
        """Every POST meets this fault; None heals it."""
        self._always = fault

    def to(self, number: str) -> list[Message]:
        return [message for message in self.taken if message.to == number]

    def report(self, message: Message, status: str, error: int | None = None) -> int | None:
        """The message goes on its way; the status of the answer of the callback, None without one."""
        message.status, message.error = status, error
        return self._do(self._call_back(message)) if message.callback else None

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _do(self, work: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _run(self, started: threading.Event) -> None:
        loop = self._loop = asyncio.new_event_loop()
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        started.set()
        loop.run_forever()
        hanging = asyncio.all_tasks(loop)
        for task in hanging:
            task.cancel()
        if hanging:
            loop.run_until_complete(asyncio.wait(hanging))
        loop.run_until_complete(runner.cleanup())
        loop.close()

    # What Twilio does

    def application(self) -> web.Application:
        app = web.Application()
        root = "/2010-04-01/Accounts/{account}"
        app.router.add_post(f"{root}/Messages.json", self._create)
        app.router.add_get(f"{root}/Messages.json", self._list)
        app.router.add_get(f"{root}/Messages/{{sid}}.json", self._fetch)
        return app

    async def _create(self, request: web.Request) -> web.StreamResponse:
        self.posts += 1
        fault = self._faults.popleft() if self._faults else self._always
        if fault is Fault.RESET:
            return _reset(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        refused = self._refusal(request) or _bad_form(form)
        if refused is not None:
            return refused
        if fault in _LOST:
            return _problem(*_LOST[fault])
        if fault is Fault.HANG:
            await asyncio.sleep(3600)
        if fault is Fault.SLOW:
            await asyncio.sleep(self.slowness)
        return await self._answer(request, self._take(form), fault)

    async def _answer(self, request: web.Request, message: Message, fault: Fault | None) -> web.StreamResponse:
        if fault is Fault.HANG_TAKEN:
            await asyncio.sleep(3600)
        if fault is Fault.ERROR_TAKEN:
            return _problem(500, 20500, "Internal Server Error")
        if fault is Fault.RESET_TAKEN:
            return _reset(request)
        answer = json.dumps(self._shown(message))
        if fault is Fault.UNREGISTERED:
            message.status, message.error = "undelivered", 30034
        if fault is Fault.GARBAGE_TAKEN:
            answer = answer[: len(answer) // 2]
        return web.Response(status=201, text=answer, content_type="application/json")

    def _take(self, form: dict[str, str]) -> Message:
        words = "Sent from your Twilio trial account - " if self.trial else ""
        message = Message(
            sid=f"SM{secrets.token_hex(16)}",
            to=form["To"],
            sender=form.get("From", SENDER),
            body=words + form["Body"],
            created=time.time(),
            callback=form.get("StatusCallback", ""),
        )
        self.taken.append(message)
        return message

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.looks += 1
        if self.list_fails:
            return _problem(500, 20500, "Internal Server Error")
        if (refused := self._refusal(request)) is not None:
            return refused
        seen = [one for one in self.taken if time.time() - one.created >= self.list_delay]
        if to := request.query.get("To"):
            seen = [one for one in seen if one.to == to]
        newest_first = sorted(seen, key=lambda one: -one.created)[: int(request.query.get("PageSize", "50"))]
        page = {"messages": [self._shown(one) for one in newest_first], "page": 0, "next_page_uri": None}
        return web.json_response(page)

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        if (refused := self._refusal(request)) is not None:
            return refused
        for message in self.taken:
            if message.sid == request.match_info["sid"]:
                return web.json_response(self._shown(message))
        return _problem(404, 20404, "The requested resource was not found")

    def _refusal(self, request: web.Request) -> web.Response | None:
        try:
            login = aiohttp.BasicAuth.decode(request.headers.get("Authorization", ""))
        except ValueError:
            return _problem(401, 20003, "Authenticate")
        if (login.login, login.password) not in ((ACCOUNT, TOKEN), (API_KEY, API_SECRET)):
            return _problem(401, 20003, "Authenticate")
        if request.match_info["account"] != ACCOUNT:
            return _problem(404, 20404, "The requested resource was not found")
        return None

    def _shown(self, message: Message) -> dict[str, Any]:
        sent = message.status in ("sent", "delivered", "undelivered")
        return {
            "sid": message.sid,
            "account_sid": ACCOUNT,
            "to": message.to,
            "from": message.sender,
            "body": message.body,
            "status": message.status,
            "num_segments": str(message.segments),
            "direction": "outbound-api",
            "date_created": formatdate(message.created),
            "date_sent": formatdate(message.created) if sent else None,
            "error_code": message.error,
            "error_message": None,
        }

    async def _call_back(self, message: Message) -> int:
        form = {
            "AccountSid": ACCOUNT,
            "ApiVersion": "2010-04-01",
            "From": message.sender,
            "MessageSid": message.sid,
            "MessageStatus": message.status,
            "SmsSid": message.sid,
            "SmsStatus": message.status,
            "To": message.to,
            **({"ErrorCode": str(message.error)} if message.error else {}),
        }
        headers = {"X-Twilio-Signature": sign(TOKEN, message.callback, form)}
        async with aiohttp.ClientSession() as http, http.post(message.callback, data=form, headers=headers) as answer:
            return answer.status


def sign(token: str, url: str, form: dict[str, str]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 of the URL and each name and value, by name, in base64."""
    text = url
    for name in sorted(form):
        text += name + form[name]
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _bad_form(form: dict[str, str]) -> web.Response | None:
    to, body = form.get("To", ""), form.get("Body", "")
    checks = (
        (not to, 21604, "A 'To' phone number is required."),
        (not _E164.fullmatch(to) or to == INVALID, 21211, f"The 'To' number {to} is not a valid phone number."),
        (to == STOPPED, 21610, "Attempt to send to unsubscribed recipient"),
        (not form.get("From") and not form.get("MessagingServiceSid"), 21603, "A 'From' phone number is required."),
        (not body, 21602, "Message body is required."),
        (len(body) > 1600, 21617, "The concatenated message body exceeds the 1600 character limit."),
    )
    return next((_problem(400, code, message) for wrong, code, message in checks if wrong), None)


def _problem(status: int, code: int, message: str) -> web.Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return web.json_response({"code": code, "message": message, "more_info": more, "status": status}, status=status)


def _reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


if __name__ == "__main__":
    with TwilioStandIn(port=int(sys.argv[1])) as standing:
        sys.stdout.write(f"{standing.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
