"""Passes the sign of life on to a service elsewhere that calls people when it stays away."""

from __future__ import annotations

import asyncio
import ssl

import httpx

from provisioning.config.notifications import Heartbeat
from provisioning.config.secrets import SecretError, SecretFile

_PATIENCE = 5.0  # s between two bytes
_WHOLE = 10.0  # s for all of it, redirects included
_PAUSES = (0.5, 2.0)  # s before it is tried again


class HeartbeatError(Exception):
    """The service was not reached; `str()` says why and holds no secret."""


class Beat:
    """One service such as healthchecks.io, Dead Man's Snitch or Cronitor: a GET of its address is a sign of life."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._url = SecretFile(heartbeat.url_file)
        self._http = httpx.AsyncClient(timeout=_PATIENCE, verify=ssl.create_default_context(), follow_redirects=True)

    async def send(self) -> None:
        """One sign of life, tried three times. Raises HeartbeatError."""
        for pause in _PAUSES:
            try:
                await self._once()
            except HeartbeatError:
                await asyncio.sleep(pause)
            else:
                return
        await self._once()

    async def _once(self) -> None:
        try:
            # What it says is not read: it could go on for ever.
            async with asyncio.timeout(_WHOLE), self._http.stream("GET", self._url.read()) as answer:
                pass
        except SecretError as error:
            raise HeartbeatError(str(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            # The address is a secret, and messages of httpx may quote it.
            raise HeartbeatError(f"the heartbeat's service cannot be reached: {type(error).__name__}") from None
        if not answer.is_success:
            raise HeartbeatError(f"the heartbeat's service answers {answer.status_code}")

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()
