"""Reads nginx's log, which strangers write into, and makes a list of what was done."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from compose.audit import deeds

_WITHIN = dt.timedelta(minutes=1)
_REFUSED, _FAILED, _TOO_MANY = 400, 500, 429
_NOT_SIGNED_IN = 401
_NO_ANSWER = frozenset({499, 502, 504})
_LOGIN = re.compile(r"[\w.@+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that somebody did, or tried to."""

    time: dt.datetime
    who: str
    address: str
    kind: str
    did: str
    status: int
    asked_again: bool = False
    """Whether another Grafana was asked after the first: what that one did nobody told."""

    @property
    def outcome(self) -> str:
        """`done`, `refused` by rights or password, `failed`, or `unknown` where Grafana did not answer."""
        if self.status in _NO_ANSWER or (self.asked_again and self.status >= _REFUSED):
            return "unknown"
        if self.status < _REFUSED:
            return "done"
        return "failed" if self.status >= _FAILED else "refused"


@dataclass(slots=True)
class Found:
    """What a log holds."""

    events: list[Event] = field(default_factory=list)
    unreadable: int = 0
    """Lines that are not nginx's, or not whole."""


def read(lines: Iterable[bytes], names: Mapping[str, str] | None = None) -> Found:
    """Every event, the oldest first. `names` are logins by identity, such as `user:7`.

    Somebody who signs in has no name yet: it is who the same connection turned out to be within a minute.
    """
    found = Found()
    seen = sorted(_lines(lines, found), key=lambda line: (line.time, line.at))  # they may come out of several logs
    known = names or {}
    next_known: dict[tuple[int, str], _Line] = {}
    for line in reversed(seen):
        event = _event(line, known)
        if event is not None and not event.who:
            event = replace(event, who=_soon(line, next_known.get((line.connection, line.address)), known))
        if event is not None:
            found.events.append(event)
        if line.identity:
            next_known[line.connection, line.address] = line
    found.events.reverse()
    return found


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the log, of which nothing else is believed than that nginx wrote it."""

    time: dt.datetime
    address: str
    method: str
    path: str
    status: int
    identity: str
    login: str
    credential: str
    upstream_status: str
    """Empty when nginx answered by itself."""
    connection: int
    at: float
    """Seconds since 1970, finer than `time`."""
    signed_in: bool
    """Whether Grafana began a session with this answer."""


_TEXTS = ("address", "method", "path", "identity", "login", "credential", "upstream_status")


def _lines(lines: Iterable[bytes], found: Found) -> Iterator[_Line]:
    for raw in lines:
        if not raw.strip():
            continue
        try:
            data = json.loads(raw.decode(errors="replace"))
            yield _Line(
                time=dt.datetime.fromisoformat(data["time"]).astimezone(dt.UTC),
                # A page that wants a sign-in sends there; that is no success.
                status=_NOT_SIGNED_IN if str(data["upstream_status"]).endswith("401") else int(data["status"]),
                connection=int(data["connection"]),
                at=float(data.get("at", 0)),
                signed_in=bool(data.get("signed_in")),
                **{name: str(data[name]) for name in _TEXTS},
            )
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            found.unreadable += 1


def _event(line: _Line, names: Mapping[str, str]) -> Event | None:
    if not line.upstream_status:
        return None  # nobody did what Grafana was never asked for
    said = deeds.told(line.method, line.path)
    wrong_password = line.status == _NOT_SIGNED_IN and line.credential == "password"
    if line.status == _TOO_MANY or (said is None and not wrong_password):
        return None
    kind, did = said or (deeds.SIGN_IN, "")
    if wrong_password:
        kind, did = deeds.SIGN_IN, f"came with a wrong password to {line.path}"
    elif kind == deeds.SIGN_IN and line.method == "POST" and line.status >= _REFUSED:
        did = "tried to sign in"
    if line.signed_in:
        did = did.replace("went to sign in", "signed in")
    typed = line.login and kind == deeds.SIGN_IN and (line.method == "POST" or wrong_password)
    who = _who(line, names) or (f'login "{line.login}"' if typed else "")
    asked_again = kind != deeds.SIGN_IN and "," in line.upstream_status
    return Event(line.time, who, line.address, kind, did, line.status, asked_again)


def _who(line: _Line, names: Mapping[str, str]) -> str:
    """Who Grafana says it was; by the identity where the name could be taken for another's identity."""
    known = names.get(line.identity, "")
    return known if _LOGIN.fullmatch(known) else line.identity


def _soon(line: _Line, later: _Line | None, names: Mapping[str, str]) -> str:
    """Who a connection has turned out to be, unless that was too long after."""
    return "unknown" if later is None or later.time - line.time > _WITHIN else _who(later, names)
