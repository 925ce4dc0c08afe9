"""The bridge's HTTP server: Alertmanager posts to it, the provider reports to it, Prometheus reads it."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import ValidationError

from alert_rules.bridge.delivery import Deliveries, Told
from alert_rules.bridge.heartbeat import Beat, HeartbeatError
from alert_rules.bridge.metrics import Metrics
from alert_rules.bridge.reports import Reports
from alert_rules.bridge.twilio import signature
from alert_rules.bridge.webhook import Notification
from exporter.door.formats import wanted
from exporter.door.guard import Guard, Handler
from exporter.door.server import PatientResponse
from exporter.door.settings import WebSettings
from provisioning.config.people import Person
from provisioning.config.secrets import SecretError, SecretFile

log = logging.getLogger(__name__)
MOST_BYTES = 16 * 1024 * 1024
"""A group of ten thousand alerts; Alertmanager posts a group whole."""
_MOST_FORM = 64 * 1024  # bytes of a delivery report; Twilio's have one or two thousand
_MOST_FIELDS = 100
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cluster-ai sms-bridge"'}
_ABOUT = "The SMS bridge of Cluster AI: Alertmanager posts to it. See /metrics, /-/healthy and /-/ready.\n"


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the provider reports deliveries, as it was told, and the secret it signs with."""

    url: str
    token: SecretFile


class Bridge:
    """The application."""

    def __init__(
        self,
        *,
        token: SecretFile,
        people: Mapping[str, Person],
        deliveries: Deliveries | None,
        reports: Reports | None,
        callback: Callback | None,
        beat: Beat | None,
        metrics: Metrics,
        settings: WebSettings,
    ) -> None:
        """`token` is what Alertmanager sends, `people` who has a phone number by name; None is not configured."""
        self._token = token
        self._people = people
        self._deliveries = deliveries
        self._reports = reports
        self._callback = callback
        self._beat = beat
        self._beats = True
        self._metrics = metrics
        self._guard = Guard(settings, count=metrics.answered, headers=_HEADERS, costly=frozenset())

    def application(self) -> web.Application:
        """An aiohttp application, ready to be served."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=MOST_BYTES)
        app.on_cleanup.append(self._guard.close)
        reading: dict[str, Handler] = {
            "/": self._about,
            "/metrics": self._exposition,
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
        }
        for path, handler in reading.items():
            app.router.add_get(path, handler)
        app.router.add_post("/v1/alerts/{person}", self._alerts)
        app.router.add_post("/v1/heartbeat", self._heartbeat)
        app.router.add_post("/v1/twilio/status", self._status)
        return app

    async def _alerts(self, request: web.Request) -> web.Response:
        """200: told, now or before. 503: Alertmanager must come again."""
        self._let_in(request)
        name = request.match_info["person"]
        person = self._people.get(name)
        if self._deliveries is None or person is None:
            raise web.HTTPNotFound(text=f"Nobody called {name[:63]!r} is told by SMS in the configuration.\n")
        told = await self._deliveries.tell(person, await _notification(request))
        if told is Told.AGAIN:
            raise web.HTTPServiceUnavailable(text="Not told yet, and the provider does not have it: come again.\n")
        return web.Response(text="Told.\n")

    async def _heartbeat(self, request: web.Request) -> web.Response:
        self._let_in(request)
        if self._beat is None:
            raise web.HTTPNotFound(text="notifications.heartbeat is not configured.\n")
        if (await _notification(request)).status == "resolved":
            return web.Response(text="A resolved Watchdog is no sign of life.\n")
        try:
            await self._beat.send()
        except HeartbeatError as error:
            # The next one comes soon; asking Alertmanager to come again would count as an SMS that failed.
            self._metrics.heartbeats.labels("failed").inc()
            if self._beats:
                log.warning("signs of life are not passed on: %s", error)
            self._beats = False
            return web.Response(status=202, text=f"Not passed on: {error}.\n")
        self._metrics.heartbeats.labels("passed").inc()
        self._metrics.last_heartbeat.set_to_current_time()
        if not self._beats:
            log.info("signs of life are passed on again")
        self._beats = True
        return web.Response(text="Passed on.\n")

    async def _status(self, request: web.Request) -> web.Response:
        """Twilio's report of a delivery. https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks."""
        if self._callback is None or self._reports is None:
            raise web.HTTPNotFound(text="notifications.sms.twilio.status_callback is not configured.\n")
        form = await _form(request)
        query = request.rel_url.raw_query_string
        url = f"{self._callback.url}?{query}" if query else self._callback.url
        given = request.headers.get("X-Twilio-Signature", "")
        if not hmac.compare_digest(signature(_read(self._callback.token), url, form).encode(), _bytes(given)):
            raise web.HTTPForbidden(text="The signature is not Twilio's.\n")
        said = dict(form)
        await self._reports.take(
            said.get("MessageSid", ""),
            request.query.get("message", ""),
            said.get("MessageStatus", ""),
            said.get("ErrorCode", ""),
        )
        return web.Response(status=204)

    async def _exposition(self, request: web.Request) -> web.Response:
        openmetrics, content_type = wanted(request)
        if self._deliveries is not None:
            self._metrics.unsettled.set(self._deliveries.unsettled)
        text = self._metrics.text(openmetrics=openmetrics)
        return PatientResponse(body=text.encode(), headers={"Content-Type": content_type, "Vary": "Accept"})

    async def _about(self, _request: web.Request) -> web.Response:
        return web.Response(text=_ABOUT)

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="Healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        _read(self._token)
        return web.Response(text="Ready.\n")

    def _let_in(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        right = _read(self._token)
        if scheme.lower() != "bearer" or not hmac.compare_digest(_bytes(given.strip()), right.encode()):
            raise web.HTTPUnauthorized(text="The bearer token is missing or wrong.\n", headers=_CHALLENGE)


async def _notification(request: web.Request) -> Notification:
    try:
        return Notification.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise web.HTTPBadRequest(
            text=f"This is not Alertmanager's webhook data, version 4: {where or 'the body'}: {first['msg']}.\n"
        ) from None


async def _form(request: web.Request) -> list[tuple[str, str]]:
    """A small form, read before anything is known of who sends it: this endpoint is open to the internet."""
    raw = b""
    while (more := await request.content.read(_MOST_FORM)) and len(raw) <= _MOST_FORM:
        raw += more
    try:
        if len(raw) <= _MOST_FORM:
            return parse_qsl(raw.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        pass  # too many fields
    raise web.HTTPRequestEntityTooLarge(_MOST_FORM, len(raw), text="A delivery report is smaller than this.\n")


def _bytes(header: str) -> bytes:
    """As it was sent: a header may hold bytes that are no text."""
    return header.encode(errors="surrogateescape")


def _read(file: SecretFile) -> str:
    try:
        return file.read()
    except SecretError as error:
        log.error("%s", error)  # noqa: TRY400 -- told to people
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from None
