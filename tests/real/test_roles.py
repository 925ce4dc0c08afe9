"""What each role sees and may do in a real Grafana over the demo. Needs GRAFANA_HOME; the pages need Chromium too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from compose.native.people import DEMO
from tests.compose.running import until
from tests.dashboards.reading import PAGES
from tests.real.browser import PATIENCE, SIZES, chromium, look, signed_in
from tests.real.test_stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
ROLES = ("viewer", "operator", "admin")
SILENCES = "/api/alertmanager/cluster-ai-alertmanager/api/v2/silences"
ACKNOWLEDGE = "/alerting/silence/new?alertmanager=Alertmanager&matcher=alertname%3DNothing&comment=ACK"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if "GRAFANA_HOME" not in os.environ:
        pytest.skip("GRAFANA_HOME is not set: there is no Grafana to ask")
    made = Stack(tmp_path_factory.mktemp("roles"))
    try:
        begun = time.monotonic()
        done = made.up()
        assert done.returncode == 0, done.stdout + done.stderr
        for role in ROLES:
            assert password(made, role) in done.stdout, f"the {role}'s password is told"
        log = (made.state.logs / "supervisor.log").read_text()
        assert not [role for role in ROLES if password(made, role) in log]
        assert time.monotonic() - begun < 120
        yield made
    finally:
        made.command("down")


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """Where Grafana answers, once every panel can have data."""
    until(lambda: stack.value('count(up{job="native"} == 1)') is not None, "workers to be read", seconds=120)
    return f"http://127.0.0.1:{stack.ports['grafana']}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


def password(stack: Stack, role: str) -> str:
    return (stack.state.secrets / f"grafana-{role}-password").read_text().strip()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("role", ROLES)
def test_every_page_opens_whole(role: str, size: str, stack: Stack, url: str, browser: Any) -> None:
    complaints = {}
    with signed_in(browser, url, role, password(stack, role), size) as context:
        for name, shown in PAGES.items():
            page = context.new_page()
            titles = [panel["title"] for panel in shown["panels"] if panel["title"]] if size == "desktop" else []
            complaints[name] = look(page, f"{url}/d/cluster-ai-{name}", titles)
            page.close()
    assert complaints == {name: [] for name in PAGES}


def test_the_demo_has_these_people(stack: Stack, url: str) -> None:
    assert {*DEMO, "admin"} == set(ROLES)
    with httpx.Client(base_url=url, auth=("admin", password(stack, "admin"))) as admin:
        found = {row["login"]: row["role"] for row in admin.get("/api/org/users").json()}
    assert found == {"admin": "Admin", "operator": "Editor", "viewer": "Viewer"}


def test_applying_again_changes_nothing(stack: Stack) -> None:
    again = stack.command("grafana", "apply")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("Nothing to change: Grafana is as ")


def test_nobody_sees_anything(stack: Stack, url: str, browser: Any) -> None:
    paths = ["/api/search", "/api/org", "/api/datasources", SILENCES, "/api/folders"]
    paths += [f"/api/dashboards/uid/cluster-ai-{name}" for name in PAGES]
    assert {path: httpx.get(url + path).status_code for path in paths} == dict.fromkeys(paths, 401)
    assert httpx.post(f"{url}/api/ds/query", json={}).status_code == 401
    context = browser.new_context(base_url=url)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto("/d/cluster-ai-dashboard")
    page.wait_for_selector('input[name="password"]')
    assert "/login" in page.url
    context.close()


def silence(client: httpx.Client, ends: timedelta = timedelta(hours=1)) -> httpx.Response:
    now = datetime.now(UTC)
    body = {
        "matchers": [{"name": "alertname", "value": "Nothing", "isRegex": False, "isEqual": True}],
        "startsAt": now.isoformat(),
        "endsAt": (now + ends).isoformat(),
        "createdBy": "test",
        "comment": "by API",
    }
    return client.post(SILENCES, json=body)


def test_operators_silence_and_viewers_do_not(stack: Stack, url: str) -> None:
    for role, status in {"viewer": 403, "operator": 200, "admin": 200}.items():
        with httpx.Client(base_url=url, auth=(role, password(stack, role)), timeout=30) as client:
            answer = silence(client)
            assert answer.status_code == status, f"{role}: {answer.text}"
            ends = SILENCES.removesuffix("s")
            if status == 200:
                number = answer.json()["silenceID"]
                with httpx.Client(base_url=url, auth=("viewer", password(stack, "viewer"))) as viewer:
                    assert viewer.delete(f"{ends}/{number}").status_code == 403
                assert client.delete(f"{ends}/{number}").status_code == 200


def test_an_operator_acknowledges_from_the_link_in_a_message(stack: Stack, url: str, browser: Any) -> None:
    with signed_in(browser, url, "operator", password(stack, "operator")) as context:
        page = context.new_page()
        page.goto(ACKNOWLEDGE, wait_until="domcontentloaded")
        page.get_by_role("button", name="Save silence").click()
        page.wait_for_url("**/alerting/silences**")
    found = httpx.get(f"http://127.0.0.1:{stack.ports['alertmanager']}/api/v2/silences").json()
    ours = [one for one in found if one["comment"] == "ACK"]
    assert [one["createdBy"] for one in ours] == ["operator"]
    assert ours[0]["matchers"] == [{"name": "alertname", "value": "Nothing", "isRegex": False, "isEqual": True}]


def test_a_viewer_cannot_even_open_the_form(stack: Stack, url: str, browser: Any) -> None:
    with signed_in(browser, url, "viewer", password(stack, "viewer")) as context:
        page = context.new_page()
        page.goto(ACKNOWLEDGE, wait_until="domcontentloaded")
        page.wait_for_url(lambda now: "/alerting/silence" not in now)
        assert page.get_by_role("button", name="Save silence").count() == 0


# Where it is, and what somebody is offered there who may change it.
OFFERS = {
    "/admin/users": "New user",
    "/org/serviceaccounts": "Add service account",
    "/org/teams": "New Team",
    "/d/cluster-ai-dashboard": "Edit",
}
NOBODYS = "/d/cluster-ai-dashboard"  # the pages are files


@pytest.mark.parametrize("role", ROLES)
def test_only_admins_are_offered_to_administer(role: str, stack: Stack, url: str, browser: Any) -> None:
    found = {}
    with signed_in(browser, url, role, password(stack, role)) as context:
        for path, words in OFFERS.items():
            page = context.new_page()
            page.goto(path, wait_until="networkidle")
            page.wait_for_selector("h1:visible, [data-viz-panel-key]")
            offered = page.get_by_role("link", name=words, exact=True)
            found[path] = offered.or_(page.get_by_role("button", name=words, exact=True)).count() > 0
            page.close()
    assert found == dict.fromkeys(OFFERS, role == "admin") | {NOBODYS: False}
