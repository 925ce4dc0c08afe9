"""One token from one loaded model, and the expiry put back where it was.

A request goes only to a model that /api/ps showed a moment before, with the context size it was loaded with, because
other options would make Ollama load it anew. A model that is unloaded in the milliseconds between that look and the
request is loaded again, which no request can rule out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from exporter.apart import fairly
from exporter.collectors.base import Answer, Clock, Http
from exporter.collectors.ollama_answers import Loaded, Shown, decode_loaded
from exporter.collectors.ollama_lease import Lease
from exporter.errors import CollectError, Reason
from exporter.families import number

Result = Literal["ok", "busy", "hung", "reloaded", "failed"]
MARGIN = 5.0  # s a model must still have beyond the probe's own timeout
_SMALL = 5.0  # s for the calls around the generation
_NOTICED = 0.5  # s in which Ollama books the end of a request, also of one that hung up
_PING = 12.0  # s; Ollama gives a silent runner 10 before it replaces it
_SCHEDULED = 1.0  # s; a model in memory is scheduled in milliseconds, a load takes longer
_QUEUED = 0.5  # s in Ollama's queue that tell of somebody else's request, which ended before ours began
_NANO = 1e-9


class Reply(NamedTuple):
    """What Ollama made of a generation."""

    result: Result | None  # None: the model is not there any more, or cannot generate
    incapable: bool = False
    queued: float = 0.0  # s
    worked: float = 0.0  # s


@dataclass(slots=True)
class Generation:
    """Asks one loaded model for a token; made for one probe."""

    http: Http
    clock: Clock
    pause: Callable[[float], Awaitable[None]]
    timeout: float
    name: str
    shown: Shown
    lease: Lease
    seen: float | None  # last look at the model's expiry
    incapable: bool = False
    unsettled: bool = False  # the model was being loaded, or used a moment ago
    seconds: float | None = None  # that a token took

    async def probe(self, shown: float | None) -> Result | None:
        """How it went; None when there was nothing to ask. `shown` is the expiry that a scrape has just seen.

        Raises CollectError when /api/ps does not answer where that is needed to tell. `settle` is to follow.
        """
        since = self.seen
        model = await self._look()
        if model is None:
            return None
        self.lease.saw(self.clock(), model.expires, since)
        # Until the first request on a freshly loaded model has ended, Ollama shows an expiry that moves with the time:
        # waiting for a load is no hang.
        self.unsettled = model.expires != shown
        if self.unsettled or not has_room(self.lease, self.clock(), self.timeout):
            return None
        keep_alive = self.lease.left(self.clock())
        started = self.clock()
        try:
            answer = await self.http.ask(
                "/api/generate",
                method="POST",
                json=self._request(model, keep_alive) | {"prompt": "a", "raw": True},
                timeout=self.timeout,
            )
        except CollectError as error:
            if error.reason != Reason.TIMEOUT:
                return "failed"
            return await self._judge(model, keep_alive, started)
        ended = self.clock()
        self.seconds = ended - started
        reply = read_reply(answer)
        self.incapable = reply.incapable
        try:
            after = await self._look_after(model)
        except CollectError:  # the token came, whatever the list says
            after = None
        if self._account(model, after, keep_alive, ended) and reply.queued > _QUEUED:
            self.lease.extended(ended - reply.worked)
        # Before 0.10 the context is not told. A model that was loaded with another one than ours changed its size.
        resized = model.context is None and after is not None and after.size != model.size
        return "reloaded" if resized and reply.result == "ok" else reply.result

    async def settle(self) -> None:
        """Put the expiry where it should be, with a request that generates nothing. Raises CollectError."""
        keep_alive = self.lease.owes(self.clock())
        if keep_alive is None:
            return
        before = await self._look()
        if before is None:
            return
        await self.http.ask("/api/generate", method="POST", json=self._request(before, keep_alive), timeout=_SMALL)
        ended = self.clock()
        self._account(before, await self._look_after(before), keep_alive, ended)

    async def _judge(self, model: Loaded, keep_alive: float | None, started: float) -> Result:
        """Busy or hung, after a time-out.

        Ollama sets the expiry when the last request on a model ends, and a request that hung up has ended: an expiry
        that moves at once says that ours was the only one, so nothing but a hang kept the token from us. A model that
        goes away now had a runner that did not even answer Ollama.
        """
        ended = self.clock()
        await self.pause(_NOTICED)
        after = await self._look()
        if self._account(model, after, keep_alive, ended):
            return "hung"
        while after is not None and after.expires == model.expires and self.clock() - started < _PING:
            await self.pause(_NOTICED)
            after = await self._look()
        return "hung" if after is None else "busy"

    async def _look(self) -> Loaded | None:
        listing = await fairly(decode_loaded, await self.http.json("/api/ps", timeout=_SMALL))
        self.seen = self.clock()
        return listing.models.get(self.name)

    async def _look_after(self, before: Loaded) -> Loaded | None:
        """A look once a request of ours has been answered.

        Ollama sends an answer's end before it sets the expiry anew. An expiry that has not moved is looked at again, or
        the next look would take that move for somebody else's request.
        """
        after = await self._look()
        if after is not None and after.expires == before.expires:
            await self.pause(_NOTICED)
            after = await self._look()
        return after

    def _account(self, before: Loaded, after: Loaded | None, keep_alive: float | None, ended: float) -> bool:
        """Book a request of ours that ended between two looks; whether nobody else was using the model."""
        expires = after.expires if after else None
        if keep_alive is None:  # kept for ever, before and after
            return expires not in (None, before.expires)
        return self.lease.used(keep_alive, before.expires, expires, ended)

    def _request(self, model: Loaded, keep_alive: float | None) -> dict[str, object]:
        options: dict[str, object] = {"num_predict": 1}
        # A context that equals the trained one may be a larger wish that Ollama cut down (0.13 to 0.29) and would
        # compare with ours; the default is then the better guess.
        if model.context is not None and model.context != self.shown.trained_context:
            options["num_ctx"] = int(model.context)
        kept: object = -1 if keep_alive is None else f"{keep_alive:.3f}s"
        return {"model": self.name, "stream": False, "keep_alive": kept, "options": options}


def has_room(lease: Lease, now: float, timeout: float) -> bool:
    """Whether the model stays long enough for a probe that times out."""
    left = lease.left(now)
    return lease.forever or (left is not None and left >= timeout + MARGIN)


def read_reply(answer: Answer) -> Reply:
    """What an answer of /api/generate says; durations in it are nanoseconds and left out when 0."""
    if answer.status == 404:  # noqa: PLR2004
        return Reply(None)
    if answer.status == 400 and b"does not support" in answer.body:  # noqa: PLR2004 -- embedding models
        return Reply(None, incapable=True)
    if answer.status == 503:  # noqa: PLR2004 -- the queue is full
        return Reply("busy")
    try:
        body = json.loads(answer.body) if answer.status == 200 else None  # noqa: PLR2004
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.get("done") is not True:
        return Reply("failed")
    load, prompt, token, total = (
        (number(body.get(f"{name}_duration")) or 0.0) * _NANO for name in ("load", "prompt_eval", "eval", "total")
    )
    worked = prompt + token
    return Reply("reloaded" if load > _SCHEDULED else "ok", queued=total - load - worked, worked=worked)


async def pause(seconds: float) -> None:
    """Wait; replaced in tests."""
    await asyncio.sleep(seconds)
