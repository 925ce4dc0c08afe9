"""How often one address may ask, to the figure, and what five people behind one address do. Needs nginx."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.standins import nginx_server
from tests.standins.grafana_standin import StandIn
from tests.standins.nginx_server import DOMAIN, Door

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]
_numbers = itertools.count(1)
BASIC = {"Authorization": "Basic YWRtaW46YWRtaW4="}


@pytest.fixture(scope="module")
def door(standin: StandIn) -> Iterator[Door]:
    """It trusts us to name the visitor, so that each test can be somebody new."""
    with nginx_server.running(standin.address, trusted_proxies=["127.0.0.0/8"]) as made:
        yield made


@pytest.fixture
def client(door: Door) -> Iterator[httpx.Client]:
    with door.client(headers={"X-Forwarded-For": f"198.51.100.{next(_numbers)}"}) as made:
        yield made


def flood(client: httpx.Client, method: str, path: str, times: int, **how: object) -> tuple[Counter[int], float]:
    """Statuses, and the seconds that it took."""
    begun = time.monotonic()
    statuses = Counter(client.request(method, path, **how).status_code for _ in range(times))  # type: ignore[arg-type]
    return statuses, time.monotonic() - begun


@pytest.mark.parametrize(
    ("method", "path", "headers", "allowed"),
    [
        ("POST", "/login", {}, (11, 10 / 60)),
        ("POST", "/api/user/password/send-reset-email", {}, (11, 10 / 60)),
        ("GET", "/api/search", {}, (101, 100 / 60)),
        ("POST", "/api/dashboards/db", {}, (101, 100 / 60)),
        ("GET", "/apis/folder.grafana.app/v1beta1", {}, (101, 100 / 60)),
        ("GET", "/api/search", BASIC, (101, 100 / 60)),
        ("POST", "/api/ds/query", BASIC, (101, 100 / 60)),
        ("GET", "/d/x", BASIC, (101, 100 / 60)),
        ("GET", "/login", BASIC, (101, 100 / 60)),
        ("GET", "/d/x", {}, (201, 5)),
        ("POST", "/api/ds/query", {}, (601, 50)),
        ("POST", "/api/DS/QUERY", {}, (601, 50)),
    ],
)
def test_an_address_is_held_to_the_figure(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], allowed: tuple[int, float]
) -> None:
    at_once, a_second = allowed
    found, took = flood(client, method, path, at_once + 60, headers=headers)
    passed = found.total() - found[429]
    assert at_once <= passed <= at_once + took * a_second + 1, found
    answer = client.request(method, path, headers=headers)
    if answer.status_code == 429:
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "wait ten seconds" in answer.json()["message"]


def test_who_waited_may_ask_again(client: httpx.Client) -> None:
    flood(client, "POST", "/api/folders", 120)
    begun, passed = time.monotonic(), 0
    while (took := time.monotonic() - begun) < 3:
        passed += client.post("/api/folders").status_code == 200
    assert abs(passed - took * 100 / 60) <= 2, "a hundred a minute"


def test_one_address_does_not_use_up_what_is_anothers(door: Door, client: httpx.Client) -> None:
    flood(client, "POST", "/login", 30)
    with door.client(headers={"X-Forwarded-For": "203.0.113.1"}) as other:
        assert other.post("/login", content=b"right").status_code == 200
    assert client.get("/login").status_code == 200, "to see the page is no sign-in"
    assert client.get("/api/search").status_code == 200


def test_five_people_behind_one_address_never_see_it(door: Door) -> None:
    """Each signs in, opens a page of 24 panels, which asks anew every five seconds, and goes on to other pages."""
    shared = {"X-Forwarded-For": "192.0.2.55"}
    statuses: Counter[int] = Counter()

    def ask(person: httpx.Client, method: str, path: str) -> None:
        statuses[person.request(method, path).status_code] += 1

    def open_page(person: httpx.Client, name: int) -> None:
        ask(person, "GET", f"/d/cluster-ai-{name}")
        for number in range(80):
            ask(person, "GET", f"/public/build/{number}.js")
        for path in ("/apis/dashboard.grafana.app/v1beta1/namespaces/default/dashboards/x/dto", "/api/user/orgs",
                     "/api/user/preferences", "/api/folders/cluster-ai", "/api/folders/cluster-ai",
                     "/api/dashboards/uid/x/public-dashboards", "/api/search"):  # fmt: skip
            ask(person, "GET", path)
        refresh(person)

    def refresh(person: httpx.Client) -> None:
        for _ in range(24):
            ask(person, "POST", "/api/ds/query")
        for path in ("/api/annotations", "/api/prometheus/grafana/api/v1/rules",
                     "/api/datasources/uid/p/resources/api/v1/label/host/values"):  # fmt: skip
            ask(person, "GET", path)
        ask(person, "POST", "/api/frontend-metrics")

    with ExitStack() as stack, ThreadPoolExecutor(5) as at_once:
        people = [stack.enter_context(door.client(headers=shared)) for _ in range(5)]
        list(at_once.map(lambda person: person.post("/login", content=b"right").raise_for_status(), people))
        for name in range(2):
            list(at_once.map(open_page, people, [name] * 5))
        for _ in range(2):
            next_one = time.monotonic() + 5
            list(at_once.map(refresh, people))
            time.sleep(max(0.0, next_one - time.monotonic()))  # a page waits no longer either
    assert set(statuses) == {200}, statuses


def test_so_many_at_once_and_no_more(door: Door) -> None:
    paths = ["/api/ds/query", "/d/x"] * 155
    head = f"Host: {DOMAIN}\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        held = [stack.enter_context(nginx_server.connect(door)) for _ in paths]
        for connection, path in zip(held, paths, strict=True):
            connection.sendall(f"GET {path}?seconds=4 HTTP/1.1\r\n{head}".encode())
        found = Counter(connection.recv(12) for connection in held)
    assert found == {b"HTTP/1.1 200": 300, b"HTTP/1.1 429": 10}
