"""Who is let in, to what, how often and how many at once. Everything is off until cluster-ai.yml asks for it."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.proxy.accounts import Accounts, Who, api_key
from exporter.proxy.heads import RequestHead
from exporter.proxy.metrics import Metrics
from exporter.proxy.secure import Tokens
from exporter.proxy.seen import MODEL_ENDPOINTS
from provisioning.config.ollama_proxy import OllamaProxy, ProxyLimits

_MOST_BUCKETS = 10_000
_MINUTE = 60.0
_USUAL = 5.0  # s that an answer takes, until we know better
_WEIGHT = 0.1  # of the newest answer in that
_LONGEST_RETRY = 600


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is not passed on, and what its client is told."""

    status: int
    reason: str
    """For the metric."""
    why: str
    """For people."""
    retry_after: float | None = None
    """Seconds after which asking again makes sense."""


class Place:
    """A request that was let in, or waits to be."""

    def __init__(self, go: Callable[[], None], give_up: Callable[[Refusal], None], began: float) -> None:
        self.go, self.give_up = go, give_up
        self.began = began
        """When it came, and from its turn on when that was."""
        self.waiting = False
        self.working = False
        self.patience: asyncio.TimerHandle | None = None


class Turns:
    """So many at once; others wait in the order they came."""

    def __init__(self, limits: ProxyLimits, metrics: Metrics, target: str) -> None:
        self._limits = limits
        self._metrics = metrics
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._working = 0
        self._queue: OrderedDict[Place, None] = OrderedDict()
        self._usual = _USUAL
        metrics.queued.add((target,), 0.0)

    def enter(self, place: Place) -> Refusal | None:
        """Take a place: at once, or in the queue; or there is none."""
        most = self._limits.concurrent
        if most is None or self._working < most:
            self._begin(place)
            return None
        if len(self._queue) >= self._limits.queue:
            why = f"{most} requests are under way and {len(self._queue)} wait, as many as may"
            return Refusal(503, "queue_full", why, self._wait(len(self._queue) + 1))
        place.waiting = True
        self._queue[place] = None
        self._metrics.queued.add((self._target,))
        place.patience = self._loop.call_later(self._limits.queue_time, self._lose_patience, place)
        return None

    def leave(self, place: Place) -> None:
        """Its request is over, or nobody waits for it any more."""
        if place.waiting:
            self._out_of_queue(place)
        elif place.working:
            place.working = False
            self._working -= 1
            self._usual += _WEIGHT * (self._loop.time() - place.began - self._usual)
            if self._queue and self._working < (self._limits.concurrent or math.inf):
                following = next(iter(self._queue))
                self._out_of_queue(following)
                self._begin(following)
                following.go()

    def _begin(self, place: Place) -> None:
        now = self._loop.time()
        if self._limits.concurrent is not None:
            self._metrics.queue_time.observe((self._target,), now - place.began)
        place.began = now
        place.working = True
        self._working += 1

    def _out_of_queue(self, place: Place) -> None:
        del self._queue[place]
        place.waiting = False
        self._metrics.queued.add((self._target,), -1.0)
        if place.patience is not None:
            place.patience.cancel()

    def _lose_patience(self, place: Place) -> None:
        self._out_of_queue(place)
        self._metrics.queue_time.observe((self._target,), self._loop.time() - place.began)
        why = f"the request has waited {self._limits.queue_time:.0f} s for its turn"
        place.give_up(Refusal(503, "queue_time", why, self._wait(len(self._queue) + 1)))

    def _wait(self, places: int) -> float:
        return min(places * self._usual / (self._limits.concurrent or 1), _LONGEST_RETRY)


class Rates:
    """So many requests a minute for each key, saved up for a minute at most."""

    def __init__(self, a_minute: int, clock: Callable[[], float]) -> None:
        self._most = float(a_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when

    def take(self, key: str) -> float:
        """Seconds to wait; 0 when this one may go."""
        now = self._clock()
        left, then = self._buckets.pop(key, (self._most, now))
        left = min(left + (now - then) * self._most / _MINUTE, self._most)
        wait = 0.0 if left >= 1 else (1 - left) * _MINUTE / self._most
        self._buckets[key] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)  # who asked longest ago, and has saved up the most
        return wait


class Guard:
    """Stands before one Ollama."""

    def __init__(self, proxy: OllamaProxy, who: Who | None, metrics: Metrics, target: str) -> None:
        """Within a running event loop. Raises SecretError."""
        limits = proxy.limits or ProxyLimits()
        self._tokens = Tokens(proxy.tokens_file) if proxy.tokens_file is not None else None
        self._paths = proxy.paths
        self._who = who
        self._turns = Turns(limits, metrics, target)
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        a_minute = limits.requests_per_minute
        self._rates = Rates(a_minute, loop.time) if a_minute is not None else None

    def admit(
        self, head: RequestHead, peer: str, go: Callable[[], None], give_up: Callable[[Refusal], None]
    ) -> Place | Refusal:
        """Let a request in.

        When it must wait, `go` is called at its turn, or `give_up` when that does not come; neither after `leave`.
        """
        refusal = self._judged(head, peer)
        place = Place(go, give_up, self._clock())
        if refusal is None and head.path in MODEL_ENDPOINTS:
            refusal = self._turns.enter(place)
        return place if refusal is None else refusal

    def leave(self, place: Place) -> None:
        """The request is over, however it ended."""
        self._turns.leave(place)

    def _judged(self, head: RequestHead, peer: str) -> Refusal | None:
        if self._tokens is not None and not self._tokens.good(head.fields):
            return Refusal(401, "token", "a token is needed, as an API key or `Authorization: Bearer TOKEN`")
        if self._paths is not None and not allowed(head.path, self._paths):
            return Refusal(403, "path", "this path is closed to users of the proxy")
        if self._rates is not None and head.path in MODEL_ENDPOINTS:
            wait = self._rates.take(self._key(head, peer))
            if wait > 0:
                return Refusal(429, "rate", "more requests a minute than one user may make", wait)
        return None

    def _key(self, head: RequestHead, peer: str) -> str:
        """Whom a rate is counted for: a user, a key, or an address."""
        said = self._who.of(head.fields) if self._who is not None else None
        if said is not None:
            return f"user {said}"
        key = api_key(head.fields) if self._who is None else None
        return f"address {peer}" if key is None else f"key {key!r}"


def guard_of(proxy: OllamaProxy, accounts: Accounts, metrics: Metrics, target: str) -> Guard | None:
    """The guard that a proxy wants; requests before one are never taken two at a time from a connection."""
    if all(wish is None for wish in (proxy.limits, proxy.paths, proxy.tokens_file, proxy.bearer_token_file)):
        return None
    return Guard(proxy, accounts.who, metrics, target)


def allowed(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path is one of these; `/v1/*` is everything below, written without tricks."""
    if path in patterns:
        return True
    plain = not any(trick in path for trick in ("..", "//", "%", "\\"))
    return plain and any(pattern.endswith("/*") and path.startswith(pattern[:-1]) for pattern in patterns)
