"""How long a loaded model stays, and what our own requests did to that.

Ollama has one keep-alive a loaded model. A request that names `keep_alive` replaces it, for later requests too; when
the last request under way ends, the expiry becomes that moment plus the keep-alive (server/sched.go, 0.6.5 to 0.33;
cancelled requests end like others). So a request that must not move the expiry has to name what is left until then,
and what a later request of somebody else inherits from it has to be given back. This module keeps those books.
"""

from __future__ import annotations

import math

from exporter.collectors.ollama_answers import FOREVER

DEFAULT_KEEP_ALIVE = 300.0  # s, Ollama's own
_CLOSE = 0.25  # s; an expiry this near to where it should be is left alone
_INHERITED = 10.0  # s; a keep-alive this much shorter than the model's own is given back
_GOING = 2.0  # s; a model that leaves this soon is not touched, a late request would load it again
_SLACK = 1.0  # s
_ROUND = (3600, 60, 30, 10, 5, 1)  # s; people choose round durations


class Lease:
    """One loaded model's expiry. Times called `now` are by our clock, all others by Ollama's."""

    def __init__(self) -> None:
        self.due: float | None = None  # when it should go: as others left it, None when unknown
        self.forever = False
        self._own = DEFAULT_KEEP_ALIVE  # the keep-alive it had from others
        self._lent: float | None = None  # the keep-alive our last request left behind
        self._shown: float | None = None  # the expiry at the last look
        self._skew = 0.0  # Ollama's clock minus ours, as far as our own requests have shown

    def saw(self, now: float, expires: float | None, since: float | None) -> None:
        """A look at the expiry; `since` is when Ollama was looked at before, None at the first look."""
        if expires == self._shown:
            return
        self._shown = expires
        if expires is None or expires - now > FOREVER:
            self.due, self.forever, self._lent = None, expires is not None, None
            return
        self.forever = False
        theirs = now + self._skew
        if self._lent is not None and since is not None:
            ended = expires - self._lent
            if since + self._skew - _SLACK <= ended <= theirs + _SLACK:
                self.due = ended + (self._own if self._own - self._lent > _INHERITED else self._lent)
                return
        self.due, self._lent = expires, None
        left = expires - theirs
        self._own = max(left, DEFAULT_KEEP_ALIVE) if since is None else _roundest(left, left + now - since)

    def left(self, now: float) -> float | None:
        """Seconds until it should go; None when that is not known or never."""
        return None if self.due is None else self.due - now - self._skew

    def used(self, keep_alive: float, before: float | None, after: float | None, ended: float) -> bool:
        """A request of ours with this keep-alive ended (`ended` by our clock) between two looks at the expiry.

        Returns whether nobody else was using the model: then the expiry moved when we let go of it.
        """
        self._lent = keep_alive
        if after is None or after == before:
            return False
        self._shown = after
        self._skew = after - keep_alive - ended
        return True

    def extended(self, ended: float) -> None:
        """Another request is known to have ended at `ended`, by our clock, while one of ours hid that."""
        self.due = ended + self._skew + self._own

    def owes(self, now: float) -> float | None:
        """The keep-alive, in seconds, that brings the expiry back to where it should be; None when it is there."""
        left = self.left(now)
        if self._lent is None or self.due is None or self._shown is None or left is None:
            return None
        if min(left, self._shown - now - self._skew) < _GOING or abs(self._shown - self.due) <= _CLOSE:
            return None
        return left


def _roundest(low: float, high: float) -> float:
    """The roundest number of seconds between two."""
    for step in _ROUND:
        candidate = math.ceil(low / step) * step
        if 0 < candidate <= high:
            return float(candidate)
    return low
