"""Acknowledges an alert the way its message says: the link leads to Grafana's silence form, filled in."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from tests.gameday.messages import Message
from tests.gameday.stage import Stage

_LINK = re.compile(r"https?://\S+/alerting/silence/new\?[^\s\"<>)]+")
_HOUR = dt.timedelta(hours=1)
PASSWORD = "grafana-admin-password"


async def acknowledge(stage: Stage, messages: Iterable[Message]) -> None:
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
    if stage.running("grafana"):
        await _through_grafana(stage, form["alertmanager"][0], silence)
    else:
        answer = await stage.http.post(f"{stage.url('alertmanager')}/api/v2/silences", json=silence)
        answer.raise_for_status()


async def _through_grafana(stage: Stage, source: str, silence: dict[str, object]) -> None:
    """As the form does, by the name of the data source that the link gives."""
    password = (stage.state.secrets / PASSWORD).read_text().strip()
    auth = ("admin", password)
    named = await stage.http.get(f"{stage.url('grafana')}/api/datasources/name/{source}", auth=auth)
    named.raise_for_status()
    path = f"/api/alertmanager/{named.json()['uid']}/api/v2/silences"
    answer = await stage.http.post(stage.url("grafana") + path, json=silence, auth=auth)
    answer.raise_for_status()


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
