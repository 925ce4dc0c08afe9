"""The scheduler's own /metrics behind `/native`: asked once for all who ask at the same time, then filtered."""

from __future__ import annotations

import asyncio

from exporter.apart import written
from exporter.collectors.base import Http, NativeEndpoint, Wires
from exporter.errors import CollectError, Reason
from exporter.native import Page, PrefixFilter
from exporter.scrape import Watch
from provisioning.config.targets import DaskTarget

PATH = "/native"
_LOOK_AGE = 600.0  # seconds a known dashboard address is good for; the collections keep it fresh
_OK = 200


class NativePage:
    """The filtered page of one Dask target."""

    def __init__(self, target: DaskTarget, watch: Watch, wires: Wires) -> None:
        self._target = target
        self._watch = watch
        self._wires = wires
        self._filter = PrefixFilter(target.native_prefix_limit)
        self._http: tuple[str, Http] | None = None
        self._asking: asyncio.Task[Page] | None = None

    async def get(self, budget: float) -> Page:
        """The page of now, within `budget` seconds. Raises CollectError.

        The page costs a busy scheduler half a second, so those who ask meanwhile get the same one, and one who
        leaves does not end the question for the others.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        try:
            async with asyncio.timeout(budget):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            raise CollectError(
                Reason.TIMEOUT, f"the scheduler's /metrics gave no answer within {budget:.1f} s"
            ) from None

    async def settled(self) -> None:
        """Until nobody waits for an answer."""
        if self._asking is not None:
            await asyncio.wait({self._asking})

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _asked(self, task: asyncio.Task[Page]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # those who waited have it; when all of them left, nobody wants it

    async def _ask(self) -> Page:
        endpoint = await self._endpoint()
        if self._http is None or self._http[0] != endpoint.base:
            self._http = (endpoint.base, self._wires.http(self._target, endpoint.base))
        answer = await self._http[1].ask("/metrics", timeout=self._target.timeout)
        if answer.status != _OK:
            raise CollectError(
                Reason.SERVER_ERROR,
                f"{endpoint.base}/metrics answered with status {answer.status}; is it the dashboard?",
            )
        return await written(self._filter.apply, answer.body)

    async def _endpoint(self) -> NativeEndpoint:
        endpoint = self._known()
        if endpoint is None:
            last = await self._watch.fresh(_LOOK_AGE, self._target.timeout)
            endpoint = self._known()
        if endpoint is None:
            why = last.error if last is not None and last.error is not None else "it serves no HTTP; set `dashboard`"
            raise CollectError(Reason.CONNECT, f"where the scheduler's dashboard listens is not known: {why}")
        return endpoint

    def _known(self) -> NativeEndpoint | None:
        return next((found for found in self._watch.collector.native_endpoints() if found.scheduler), None)
