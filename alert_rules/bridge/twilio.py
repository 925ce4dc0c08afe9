"""Twilio's Messages API, 2010-04-01.

It has no idempotency key: a POST whose answer did not arrive may have been taken. Facts: 201 means queued; 429 (20429)
was never processed; a 5xx (20500) may have been. https://www.twilio.com/docs/messaging/api/message-resource
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx

from alert_rules.bridge.provider import Handed, LookError, NotTaken, Refused, Taken, Unknown
from provisioning.config.notifications import Twilio
from provisioning.config.secrets import SecretError, SecretFile

CONNECT = 5.0  # s
ANSWER = 15.0  # s; Twilio gives up on a slow one of its own after about as long
_VALIDITY = 14_400  # s the text waits for a phone that is off; after four hours it is no news
_PAGE = 200  # messages to one number that are looked through
_NUMBER_CODES = frozenset({21211, 21214, 21217, 21408, 21421, 21606, 21610, 21612, 21614, 21635})
_ACCOUNT_CODES = frozenset({20003, 20005, 20403, 20404, 21603, 21659, 21660, 21701, 21703, 30034})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class TwilioProvider:
    """One account."""

    reports = True

    def __init__(self, account: Twilio, *, answer: float = ANSWER) -> None:
        """`answer`: seconds to wait for an answer."""
        self._account = account
        key = account.api_key_sid
        self._user = key or account.account_sid
        file = account.api_key_secret_file if key else account.auth_token_file
        assert file is not None  # noqa: S101 -- the model asks for one of them
        self._secret = SecretFile(file)
        self._url = f"{account.url.rstrip('/')}/2010-04-01/Accounts/{account.account_sid}"
        self._whole = CONNECT + answer  # also for an answer that comes a byte at a time
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(answer, connect=CONNECT),
            verify=ssl.create_default_context(),
            # A connection that Twilio closes at the moment we write on it would leave the outcome unknown.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def send(self, to: str, body: str, id: str) -> Handed:
        """See Provider."""
        sender = self._account.sender
        form = {
            "To": to,
            "Body": body,
            "ValidityPeriod": str(_VALIDITY),
            **({"From": sender} if sender else {"MessagingServiceSid": str(self._account.messaging_service_sid)}),
        }
        if self._account.status_callback:
            form["StatusCallback"] = callback_url(self._account.status_callback, id)
        try:
            async with asyncio.timeout(self._whole):
                answer = await self._http.post(f"{self._url}/Messages.json", data=form, auth=self._login())
        except SecretError as error:
            return NotTaken("secret", str(error))
        except _NOT_SENT as error:
            return NotTaken("unreachable", f"cannot reach {self._account.url}: {_said(error)}")
        except (httpx.TimeoutException, TimeoutError):
            return Unknown("timeout", "Twilio did not answer in time")
        except httpx.TransportError as error:
            return Unknown("broken_answer", f"the connection to Twilio broke: {_said(error)}")
        return _understood(answer)

    async def find(self, to: str, body: str, since: float) -> list[str]:
        """See Provider.

        Asks by number alone: a message that still waits in Twilio's queue has no DateSent to filter by. A trial
        account's texts begin with words of Twilio's own.
        """
        found = await self._get("Messages.json", {"To": to, "PageSize": str(_PAGE)})
        messages = found.get("messages")
        if not isinstance(messages, list):
            raise LookError("Twilio's list of messages makes no sense")
        return [
            str(one["sid"])
            for one in messages
            if isinstance(one, dict)
            and isinstance(one.get("sid"), str)
            and _text(one.get("body")).endswith(_text(body))
            and _created(one) >= int(since)
        ]

    async def delivery(self, sid: str) -> tuple[str, str]:
        """See Provider."""
        found = await self._get(f"Messages/{quote(sid, safe='')}.json", {})
        status = found.get("status")
        if not isinstance(status, str):
            raise LookError("Twilio's answer has no status")
        return status, str(found.get("error_code") or "")

    async def close(self) -> None:
        """See Provider."""
        await self._http.aclose()

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._whole):
                answer = await self._http.get(f"{self._url}/{path}", params=query, auth=self._login())
            answer.raise_for_status()
            found = answer.json()
        except httpx.HTTPStatusError as error:
            raise LookError(f"Twilio answers {error.response.status_code} to a look at its messages") from None
        except (SecretError, httpx.HTTPError, TimeoutError, ValueError) as error:
            raise LookError(f"Twilio's messages cannot be looked at: {_said(error)}") from None
        if not isinstance(found, dict):
            raise LookError("Twilio's answer makes no sense")
        return found

    def _login(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self._user, self._secret.read())


def callback_url(base: str, id: str) -> str:
    """Where Twilio reports what became of our message."""
    return f"{base}?message={id}"


def signature(token: str, url: str, form: Iterable[tuple[str, str]]) -> str:
    """What X-Twilio-Signature must be. https://www.twilio.com/docs/usage/security#validating-requests."""
    said = url + "".join(f"{name}{value}" for name, value in sorted(set(form)))
    return base64.b64encode(hmac.digest(token.encode(), said.encode(), hashlib.sha1)).decode()


def _understood(answer: httpx.Response) -> Handed:
    data = _object(answer)
    code = data.get("code")
    why = f"Twilio answers {answer.status_code}" + (f", error {code}" if isinstance(code, int) else "")
    if answer.is_success:
        sid = data.get("sid")
        if not isinstance(sid, str) or not sid:
            return Unknown("broken_answer", f"{why} without the message's SID")
        if data.get("status") in ("failed", "undelivered"):
            return Refused("refused", f"{why}, and the message is {data['status']} (error {data.get('error_code')})")
        return Taken(sid)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return NotTaken("rate_limited", why)
    if answer.is_server_error or answer.status_code == httpx.codes.REQUEST_TIMEOUT:
        return Unknown("server_error", why)
    return _refusal(answer.status_code, code, why)


def _refusal(status: int, code: object, why: str) -> Refused:
    if code in _NUMBER_CODES:
        return Refused(
            "number", f"{why}: it does not send to this number; see https://www.twilio.com/docs/api/errors/{code}"
        )
    if code in _ACCOUNT_CODES or status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Refused("account", f"{why}: look at the account, its keys and its sender")
    return Refused("refused", why)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        data = answer.json()
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _created(message: dict[str, Any]) -> float:
    """When Twilio took it; one that does not say is taken for new, which may cost a mail and never a second SMS."""
    try:
        return parsedate_to_datetime(message["date_created"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return datetime.max.replace(tzinfo=UTC).timestamp()


def _text(value: object) -> str:
    """A body without what carriers and lists do to white space."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
