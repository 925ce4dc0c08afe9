"""What stands before every endpoint: request ids, rate limit, passwords, how many costly requests at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from exporter.door.logins import Logins, TooManyLoginsError
from exporter.door.settings import WebSettings
from exporter.door.webconfig import RateLimit
from exporter.logs import REQUEST_ID, request_id

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_REQUESTS = 40  # node_exporter's own
_ID_HEADER = "X-Request-Id"
_FIRST_ERROR = 400
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="cluster-ai exporter", charset="UTF-8"'}


class Guard:
    """Lets requests in, and sees every answer off."""

    def __init__(
        self,
        settings: WebSettings,
        *,
        count: Callable[[str, int], None],
        headers: Mapping[str, str],
        costly: frozenset[str],
        max_requests: int = MAX_REQUESTS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`count` is told endpoint and status of every answer; `headers` go on each, unless the settings replace them.

        At most `max_requests` (0: any number) of the `costly` endpoints are under way at once.
        """
        self._settings = settings
        self._count = count
        self._headers = headers
        self._costly = costly
        self._most = max_requests
        self._logins = Logins()
        self._bucket = _Bucket(monotonic)
        self._in_flight = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """For aiohttp: around every request that could be read."""
        number = request_id(request.headers.get(_ID_HEADER))
        REQUEST_ID.set(number)  # each request runs in a task of its own
        resource = request.match_info.route.resource
        name = resource.canonical if resource is not None else "other"
        try:
            response = await self._admitted(name, request, handler)
        except web.HTTPException as error:
            self._see_off(name, error, number)
            raise
        except Exception:
            log.exception("the endpoint %s failed unexpectedly", name)
            text = f"Something unexpected went wrong; the log has it under request_id={number}.\n"
            response = web.Response(status=500, text=text)
        self._see_off(name, response, number)
        return response

    async def close(self, _app: web.Application) -> None:
        """For aiohttp's `on_cleanup`."""
        self._logins.close()

    def _see_off(self, name: str, response: web.StreamResponse, number: str) -> None:
        """Count by known endpoint, never by raw path, and put the headers on."""
        self._count(name, response.status)
        response.headers.update(self._headers)
        for header, text in self._settings.now().config.http_server_config.headers.items():
            response.headers[header] = text
        if response.status >= _FIRST_ERROR:
            response.headers[_ID_HEADER] = number

    async def _admitted(self, name: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        config = self._settings.now().config
        if config.rate_limit is not None and not self._bucket.take(config.rate_limit):
            raise web.HTTPTooManyRequests(text="More requests came than rate_limit of the web configuration allows.\n")
        if config.basic_auth_users:
            try:
                good = await self._logins.good(request.headers.get("Authorization"), config.basic_auth_users)
            except TooManyLoginsError:
                raise web.HTTPServiceUnavailable(
                    text="Too many different logins wait to be checked; try again.\n", headers={"Retry-After": "5"}
                ) from None
            if not good:
                raise web.HTTPUnauthorized(text="Name and password are asked for here.\n", headers=_CHALLENGE)
        if not request.raw_path.startswith("/"):
            raise web.HTTPBadRequest(text="This is no proxy; ask for a path, such as /metrics.\n")
        return await (self._one_of_few(request, handler) if name in self._costly else handler(request))

    async def _one_of_few(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if 0 < self._most <= self._in_flight:
            raise web.HTTPServiceUnavailable(
                text=f"{self._most} requests are under way, the most that --web.max-requests allows; try again later.\n"
            )
        self._in_flight += 1
        try:
            return await handler(request)
        finally:
            self._in_flight -= 1


class _Bucket:
    """A token bucket, filled as golang.org/x/time/rate does it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tokens: float | None = None
        self._filled = 0.0

    def take(self, limit: RateLimit) -> bool:
        """Whether one more request is allowed now."""
        if not limit.interval:
            return True
        now = self._monotonic()
        full = float(limit.burst)
        self._tokens = full if self._tokens is None else min(full, self._tokens + (now - self._filled) / limit.interval)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
