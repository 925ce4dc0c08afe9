"""People who ask for pages and queries through the door all the time, and one who writes."""

from __future__ import annotations

import contextlib
import random
import ssl
import threading
import time
from collections.abc import Iterator

import httpx

from provisioning.render.grafana import PROMETHEUS_UID
from tests.outages.judging import Answer
from tests.standins.nginx_server import Door

PAGE = "/d/cluster-ai-dashboard"
PEOPLE = 10
"""Each at an address of their own, so that both Grafanas have some."""
_PAUSE = 0.3  # s, about, between two pages of one of them: somebody asks every 15 ms, and less is not seen
_CHANCE = random.Random(20260101)  # noqa: S311 -- they must not all ask at once
_QUERY = {
    "queries": [
        {"refId": "A", "expr": "up", "instant": True, "datasource": {"uid": PROMETHEUS_UID}},
    ],
    "from": "now-1m",
    "to": "now",
}


class Visitors:
    """Threads that ask; `answers` is what they got."""

    def __init__(self, door: Door, password: str, *, real: bool) -> None:
        self.answers: list[Answer] = []
        self.written: list[int] = []
        """What Grafana has said that it keeps: numbers of annotations."""
        self.signed_out = 0
        """Answers that took somebody's session away."""
        self._door, self._password, self._real = door, password, real
        self._count = 0
        self._done = threading.Event()

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """People who have just signed in ask until this is left."""
        self.answers, self.written, self.signed_out = [], [], 0
        self._done.clear()
        cookies = [self.sign_in() for _ in range(PEOPLE)]
        threads = [
            threading.Thread(target=self._ask, args=(number, cookie), daemon=True)
            for number, cookie in enumerate(cookies)
        ]
        if self._real:
            threads.append(threading.Thread(target=self._write, args=(cookies[0],), daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def sign_in(self) -> str:
        """The cookie of a new session."""
        if not self._real:
            return "grafana_session=of-a-stand-in"
        self._count += 1
        headers = {"X-Forwarded-For": f"203.0.{self._count // 250}.{self._count % 250}"}
        with self._door.client(headers=headers) as browser:
            answer = browser.post("/login", json={"user": "admin", "password": self._password})
            assert answer.status_code == 200, answer.text
            return "; ".join(f"{name}={value}" for name, value in answer.cookies.items())

    def _client(self, number: int, cookie: str) -> httpx.Client:
        return self._door.client(headers={"X-Forwarded-For": f"198.51.100.{number}", "Cookie": cookie})

    def _ask(self, number: int, cookie: str) -> None:
        with self._client(number, cookie) as browser:
            while not self._done.wait(_PAUSE * _CHANCE.uniform(0.5, 1.5)):
                self._note(browser, "GET", PAGE)
                self._done.wait(_PAUSE * _CHANCE.uniform(0, 0.2))
                self._note(browser, "POST", "/api/ds/query", _QUERY)

    def _note(self, browser: httpx.Client, method: str, path: str, said: object = None) -> httpx.Response | None:
        """Asks, and remembers what came of it; None when there was no answer."""
        begun = time.monotonic()
        answer = None
        try:
            answer = browser.request(method, path, json=said)
        except httpx.HTTPError as error:
            status = _word(error)
        else:
            status = str(answer.status_code)
            self.signed_out += _ends_session(answer)
            if answer.is_redirect:  # a browser goes there, and what is said there counts, too
                with contextlib.suppress(httpx.HTTPError):
                    self.signed_out += _ends_session(browser.get(answer.headers["location"]))
        browser.cookies.clear()
        now = time.monotonic()
        self.answers.append(Answer(now, now - begun, status))
        return answer

    def _write(self, cookie: str) -> None:
        with self._client(PEOPLE, cookie) as browser:
            while not self._done.wait(_PAUSE):
                answer = self._note(browser, "POST", "/api/annotations", {"text": "written while something fails"})
                if answer is not None and answer.status_code == 200:
                    self.written.append(answer.json()["id"])


def _ends_session(answer: httpx.Response) -> bool:
    return any(one.startswith("grafana_session=;") for one in answer.headers.get_list("set-cookie"))


def _word(error: httpx.HTTPError) -> str:
    """What a browser would say."""
    if isinstance(error.__context__, ssl.SSLError) or "CERTIFICATE" in str(error):
        return "certificate refused" if "certificate" in str(error).lower() else "cut off"
    if isinstance(error, httpx.TimeoutException):
        return "no answer"
    return "refused" if isinstance(error, httpx.ConnectError) else "cut off"
