"""Acknowledges an alert the way its message says: the link leads to Grafana's silence form, filled in.

An acknowledgement holds until its time is over, mended or not: it would hide the same fault when it comes back. So who
gave it takes it back when the fault is mended.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.gameday.messages import Message
from tests.gameday.stage import Stage

_LINK = re.compile(r"https?://\S+/alerting/silence/new\?[^\s\"<>)]+")
_HOUR = dt.timedelta(hours=1)
PASSWORD = "grafana-admin-password"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A silence, and how it was made."""

    client: httpx.AsyncClient
    silences: str
    """Where silences are made, of Grafana or of Alertmanager itself."""
    auth: tuple[str, str] | None
    number: str

    async def take_back(self) -> None:
        """Ends it, as who gave it does on Grafana's page of silences."""
        url = f"{self.silences.removesuffix('s')}/{self.number}"
        answer = await self.client.delete(url, auth=self.auth or httpx.USE_CLIENT_DEFAULT)
        answer.raise_for_status()


async def acknowledge(stage: Stage, messages: Iterable[Message]) -> Acknowledgement:
    """Follows the link of the first message that has one, and sends the form. Raises LookupError without a link."""
    link = next((found[0] for one in messages if (found := _LINK.search(one.text))), None)
    if link is None:
        raise LookupError("no message has a link to acknowledge")
    form = parse_qs(urlsplit(link).query)
    now = dt.datetime.now(dt.UTC)
    silence = {
        "matchers": [_matcher(text) for text in form["matcher"]],
        "comment": form.get("comment", ["ACK"])[0],
        "createdBy": "ana",
        "startsAt": now.isoformat(),
        "endsAt": (now + _HOUR / stage.factor).isoformat(),
    }
    silences, auth = await _door(stage, form["alertmanager"][0])
    answer = await stage.http.post(silences, json=silence, auth=auth or httpx.USE_CLIENT_DEFAULT)
    answer.raise_for_status()
    return Acknowledgement(stage.http, silences, auth, answer.json()["silenceID"])


async def _door(stage: Stage, source: str) -> tuple[str, tuple[str, str] | None]:
    """Where the form goes, by the name of the data source that the link gives; without Grafana, Alertmanager."""
    if not stage.running("grafana"):
        return f"{stage.url('alertmanager')}/api/v2/silences", None
    auth = ("admin", (stage.state.secrets / PASSWORD).read_text().strip())
    named = await stage.http.get(f"{stage.url('grafana')}/api/datasources/name/{source}", auth=auth)
    named.raise_for_status()
    return f"{stage.url('grafana')}/api/alertmanager/{named.json()['uid']}/api/v2/silences", auth


def _matcher(text: str) -> dict[str, object]:
    """Of `name=value`, as Grafana's form reads it."""
    found = re.fullmatch(r"\s*([^=!~\s]+)\s*(=~|!~|!=|=)\s*(.*)", text, re.DOTALL)
    if found is None:
        raise LookupError(f"the link has a matcher that is none: {text!r}")
    value = found[3].strip()
    if value.startswith('"') and value.endswith('"'):
        value = json.loads(value)
    return {
        "name": found[1],
        "value": value,
        "isRegex": "~" in found[2],
        "isEqual": not found[2].startswith("!"),
    }
