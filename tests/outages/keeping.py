"""What must outlive a fault: rows, sessions, silences, samples and what Redis holds."""

from __future__ import annotations

import datetime as dt
import time

import httpx
from redis import Redis

from provisioning.secrets.database import Login, query
from provisioning.secrets.redis_users import BRIDGE_KEYS
from tests.compose.running import until
from tests.outages.stack import Stack
from tests.outages.visitors import PAGE, Visitors

_REMEMBERED = BRIDGE_KEYS.replace("*", "outages")  # as the SMS bridge, which must not tell anybody twice
_COUNTED = "sum(count_over_time(up[20s]))"


class Kept:
    """What is there before a fault. `lost` says in words what is not there after it."""

    def __init__(self, stack: Stack, visitors: Visitors, silence: str) -> None:
        self._stack, self._visitors, self._silence = stack, visitors, silence
        self._cookie = visitors.sign_in()
        self._moment = time.time() - 1
        self._samples = _samples(stack, self._moment)
        self._word = f"{self._moment!r}"
        with _redis(stack) as redis:
            redis.set(_REMEMBERED, self._word)

    def lost(self) -> list[str]:
        """Everything that is gone; once the fault is mended."""
        found = [*self._rows(), *self._sessions()]
        answer = httpx.get(f"http://{self._stack.at['alertmanager']}/api/v2/silence/{self._silence}")
        if not answer.is_success or answer.json()["status"]["state"] != "active":
            found.append("a silence")
        now = _samples(self._stack, self._moment)
        if now != self._samples:
            found.append(f"{self._samples - now:.0f} of {self._samples:.0f} samples")
        with _redis(self._stack) as redis:
            if redis.get(_REMEMBERED) != self._word.encode():
                found.append("what Redis was given")
        return found

    def _rows(self) -> list[str]:
        """What Grafana had said that it keeps."""
        if self._stack.home is None:
            return []
        login = Login(self._stack.at["postgres"], "grafana", self._stack.password("grafana-database-password"))
        there = {int(line) for line in query(login, "grafana", "SELECT id FROM annotation").split()}
        missing = set(self._visitors.written) - there
        return [f"{len(missing)} of {len(self._visitors.written)} rows"] if missing else []

    def _sessions(self) -> list[str]:
        found = []
        if self._visitors.signed_out:
            found.append(f"{self._visitors.signed_out} answers took a session away")
        with self._stack.door.client(headers={"Cookie": self._cookie, "X-Forwarded-For": "192.0.2.9"}) as browser:
            if browser.get(PAGE).status_code != 200:
                found.append("a session")
        return found


def silence(stack: Stack) -> str:
    """The number of a new one, once it is as old as Alertmanager's promise needs."""
    now = dt.datetime.now(tz=dt.UTC)
    matcher = {"name": "alertname", "value": "Nothing", "isRegex": False, "isEqual": True}
    said = {
        "matchers": [matcher],
        "startsAt": now.isoformat(),
        "endsAt": (now + dt.timedelta(days=1)).isoformat(),
        "createdBy": "outages",
        "comment": "kept",
    }
    answer = httpx.post(f"http://{stack.at['alertmanager']}/api/v2/silences", json=said)
    answer.raise_for_status()
    written = stack.folder / "alertmanager/silences"
    until(lambda: written.exists() and written.stat().st_mtime > now.timestamp(), "silences to be written down", 90)
    return str(answer.json()["silenceID"])


def _samples(stack: Stack, moment: float) -> float:
    """How many of the parts' there are of the seconds before that moment."""
    asked = {"query": _COUNTED, "time": f"{moment:.3f}"}
    answer = httpx.get(f"http://{stack.at['prometheus']}/api/v1/query", params=asked).raise_for_status()
    [series] = answer.json()["data"]["result"]
    return float(series["value"][1])


def _redis(stack: Stack) -> Redis:
    host, _, port = stack.at["redis"].rpartition(":")
    password = stack.password("redis-bridge-password")
    return Redis(host=host, port=int(port), username="bridge", password=password, socket_timeout=10)
