"""The pages over a real, busy demo: their queries return data, and a real Grafana shows them without an error.

Needs GRAFANA_HOME for all, and for the last test Chromium and the package playwright as well.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dashboards.build import HOME
from tests.compose.running import until
from tests.dashboards.reading import PAGES, Asked, queries, substituted
from tests.dashboards.test_metrics import names
from tests.real.test_stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
SIZES = {"desktop": (1600, 3400), "phone": (390, 844)}
# What the demo does not have: an Ollama and an Open WebUI (one may run on this machine), rules, GPUs, sensors.
ABSENT = r"ollama_|openwebui_|ALERTS|DCGM_|nvidia_|node_hwmon_|prometheus_rule_"
# Only while something is wrong, or once something was sent.
NOTHING_WRONG = ("Which looks fail, and why?", "Why do looks fail?", "Do messages go out?", "Who spills to disk?")
# Asked by Grafana 12.2 itself whenever a page is opened, though public dashboards are off.
GRAFANAS_OWN = "/public-dashboards"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if "GRAFANA_HOME" not in os.environ:
        pytest.skip("GRAFANA_HOME is not set")
    made = Stack(tmp_path_factory.mktemp("pages"))
    try:
        done = made.up()
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.command("down")


@pytest.fixture(scope="module")
def grafana(stack: Stack) -> Iterator[httpx.Client]:
    """Signed in as the administrator."""
    password = (stack.state.secrets / "grafana-admin-password").read_text().strip()
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.ports['grafana']}", timeout=30) as client:
        answer = client.post("/login", json={"user": "admin", "password": password})
        assert answer.status_code == 200, answer.text
        yield client


def expected() -> list[Asked]:
    """Queries that a demo of some minutes must answer."""
    return [
        asked
        for asked in queries()
        if not any(re.match(ABSENT, name) for name in names(asked.expr)) and asked.panel not in NOTHING_WRONG
    ]


def test_every_query_returns_data(stack: Stack) -> None:
    waiting = {(asked.page, asked.panel, asked.expr): asked for asked in expected()}
    assert len(waiting) > 100

    def answered() -> bool:
        for key, asked in list(waiting.items()):
            if result(stack, asked):
                del waiting[key]
        if waiting:
            time.sleep(2)  # a series takes 15 s to come, and this many questions slow the demo
        return not waiting

    try:
        until(answered, "every query to return data", seconds=240)
    except AssertionError:
        pytest.fail("without data: " + "\n".join(f"{asked}: {asked.expr}" for asked in waiting.values()))


def result(stack: Stack, asked: Asked) -> list[Any]:
    """As Grafana asks: over a time for graphs, now for tables. An error of Prometheus fails the test."""
    expr = substituted(asked.expr, dask="demo", worker="worker-1")
    if asked.page != "worker":
        expr = substituted(asked.expr)
    now = time.time()
    if asked.instant:
        path, data = "query", {"query": expr}
    else:
        path, data = "query_range", {"query": expr, "start": str(now - 600), "end": str(now), "step": "15"}
    answer = httpx.post(f"http://127.0.0.1:{stack.ports['prometheus']}/api/v1/{path}", data=data, timeout=30)
    assert answer.status_code == 200, f"{asked}: {answer.text}"
    found: list[Any] = answer.json()["data"]["result"]
    return found


def test_grafana_has_the_pages_in_its_folder_and_one_at_home(stack: Stack, grafana: httpx.Client) -> None:
    def found() -> dict[str, dict[str, Any]]:
        return {one["uid"]: one for one in grafana.get("/api/search", params={"type": "dash-db"}).json()}

    until(lambda: len(found()) >= len(PAGES), "the pages to be provisioned", seconds=30)
    assert set(found()) == {page["uid"] for page in PAGES.values()}
    assert {one["folderTitle"] for one in found().values()} == {"Cluster AI"}
    assert grafana.get("/api/dashboards/home").json()["dashboard"]["title"] == PAGES[HOME]["title"]
    log = (stack.state.logs / "grafana.log").read_text(errors="replace")
    complaints = [
        line for line in log.splitlines() if "provisioning" in line and re.search(r"level=(warn|error)", line)
    ]
    assert complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_nobody_changes_a_page_in_grafana(name: str, grafana: httpx.Client) -> None:
    until(lambda: grafana.get(f"/api/dashboards/uid/cluster-ai-{name}").status_code == 200, "the page", seconds=30)
    page = grafana.get(f"/api/dashboards/uid/cluster-ai-{name}").json()
    assert page["meta"]["provisioned"]
    changed = {"dashboard": {**page["dashboard"], "title": "mine"}, "folderUid": "cluster-ai", "overwrite": True}
    assert grafana.post("/api/dashboards/db", json=changed).status_code == 400
    assert grafana.delete(f"/api/dashboards/uid/cluster-ai-{name}").status_code == 400


@pytest.mark.parametrize("size", SIZES)
def test_no_page_shows_an_error(size: str, stack: Stack, grafana: httpx.Client) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on PATH")
    until(lambda: len(grafana.get("/api/search?type=dash-db").json()) >= len(PAGES), "the pages", seconds=30)
    width, height = SIZES[size]
    complaints: dict[str, list[str]] = {}
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": height})
        context.add_cookies(
            [
                {"name": cookie.name, "value": str(cookie.value), "url": str(grafana.base_url)}
                for cookie in grafana.cookies.jar
            ]
        )
        for name in PAGES:
            page = context.new_page()
            complaints[name] = look(page, f"{grafana.base_url}/d/cluster-ai-{name}", name, whole=size == "desktop")
            page.close()
        browser.close()
    assert complaints == {name: [] for name in PAGES}


def look(page: Any, url: str, name: str, *, whole: bool) -> list[str]:
    """What is wrong with a page in the browser: failed requests, errors on panels, titles that are not there."""
    wrong: list[str] = []
    page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if failed(answer) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector("[data-viz-panel-key]", timeout=60_000)
    titles = [panel["title"] for panel in PAGES[name]["panels"] if panel["title"]] if whole else []
    for title in titles:
        page.get_by_role("heading", name=title, exact=True).first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle", timeout=60_000)
    errors = page.locator('[data-testid*="Panel status error"]')
    wrong.extend(f"a panel shows an error: {errors.nth(index).inner_text()}" for index in range(errors.count()))
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        wrong.append("it scrolls sideways")
    return wrong


def failed(answer: Any) -> bool:
    return answer.status >= 400 and not answer.url.endswith(GRAFANAS_OWN)
