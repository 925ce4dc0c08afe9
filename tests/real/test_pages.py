"""The pages over a real, busy demo: their queries return data, and a real Grafana shows them without an error.

Needs GRAFANA_HOME. tests/real/test_roles.py opens them in a browser.
"""

from __future__ import annotations

import os
import re
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
# What the demo does not have: an Ollama and an Open WebUI (one may run on this machine), GPUs, sensors, anything that
# fires or fired but the Watchdog, backups, people with an address and ways to them, prices, a door and what is behind
# it.
ABSENT = (
    r"ollama_|openwebui_|ALERTS|DCGM_|nvidia_|node_hwmon_"
    r"|cluster_ai_(sms|heartbeat|alert|backup|door)|pg_|redis_|nginx_|probe_|cluster_ai:(alert_|person|way|worker_price)"
)
# Only while something is wrong, or once something was sent.
NOTHING_WRONG = ("Which looks fail, and why?", "Why do looks fail?", "Do messages go out?", "Who spills to disk?")


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
        if not any(re.match(ABSENT, name) for name in names(asked.expr))
        and asked.panel not in NOTHING_WRONG
        and asked.page != "proxy"  # needs an Ollama behind it
        and not asked.expr.startswith("absent(")  # says that a timeline has nothing to show
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
    assert grafana.get("/api/dashboards/home").json()["redirectUri"].startswith(f"/d/{PAGES[HOME]['uid']}/")
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
