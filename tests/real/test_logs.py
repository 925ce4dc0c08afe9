"""What we render for Loki, in a real one: $LOKI, or `loki` on PATH; and what the Logs page finds in it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.build import LOGS, documents
from provisioning.render import logs
from tests.compose.running import until
from tests.standins.log_store import LogStore

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs/logs.md"
PANELS = {panel["title"]: panel["targets"][0]["expr"] for panel in documents(logs=True)[LOGS]["panels"]}
DOOR = (
    '{{"time":"2026-11-23T14:00:00+00:00","address":"203.0.113.9","method":"{}","path":"{}","status":{},"agent":"me"}}'
)
# A line that is an error and one that is none, as each part writes them.
LINES = {
    ("nginx", "stdout"): (
        DOOR.format("GET", "/api/health", 502),
        DOOR.format("GET", "/d/cluster-ai-dashboard", 200),
        DOOR.format("POST", "/login", 401),
        DOOR.format("POST", "/login", 200),
    ),
    ("nginx", "stderr"): (
        "2026/11/23 14:00:00 [error] 12#12: *1 connect() failed",
        "2026/11/23 14:00:00 [warn] 12#12: a",
    ),
    ("grafana-1", "stdout"): ('{"level":"error","msg":"failed"}', '{"level":"info","msg":"an error was mended"}'),
    ("prometheus", "stderr"): ('ts=2026 level=error msg="Failed"', 'ts=2026 level=info msg="Error is only a word"'),
    ("postgres", "stderr"): ("2026-11-23 UTC [12] FATAL:  password authentication failed", "UTC [12] LOG:  checkpoint"),
}


@pytest.fixture(scope="module")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with LogStore(tmp_path_factory.mktemp("loki")).running() as client:
        until(lambda: _pushed(client), "Loki to take lines", seconds=60)
        yield client


def _pushed(client: httpx.Client) -> bool:
    now = time.time_ns()
    streams = [
        {
            "stream": {"service": service, "stream": stream},
            "values": [[str(now + number), line] for number, line in enumerate(lines)],
        }
        for (service, stream), lines in LINES.items()
    ]
    try:
        return client.post("/loki/api/v1/push", json={"streams": streams}).status_code == 204
    except httpx.TransportError:
        return False


def ask(client: httpx.Client, title: str, *, service: str = ".+", text: str = "") -> list[dict[str, Any]]:
    """What a panel gets over the last minutes, with Grafana's own words filled in."""
    query = PANELS[title].replace("$service", service).replace("$__auto", "10m").replace("${text:regex}", text)
    counts = "count_over_time" in query
    where = "/loki/api/v1/query" if counts else "/loki/api/v1/query_range"
    answer = client.get(where, params={"query": query, "since": "10m", "limit": "100"})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json.loads(answer.text)["data"]["result"]
    return found


def counted(found: list[dict[str, Any]], label: str) -> dict[str, int]:
    return {series["metric"][label]: int(series["value"][1]) for series in found}


def test_errors_are_told_from_lines_that_only_speak_of_them(loki: httpx.Client):
    until(lambda: ask(loki, "Who reports errors?"), "lines to be found")
    found = counted(ask(loki, "Who reports errors?"), "service")
    assert found == {"nginx": 2, "grafana-1": 1, "prometheus": 1, "postgres": 1}


def test_every_line_is_counted_where_it_was_written(loki: httpx.Client):
    found = counted(ask(loki, "Who writes how much?"), "service")
    written = dict.fromkeys((service for service, _ in LINES), 0)
    for (service, _), lines in LINES.items():
        written[service] += len(lines)
    assert found == written


def test_sign_ins_that_were_refused_are_told_with_where_they_came_from(loki: httpx.Client):
    assert counted(ask(loki, "Which sign-ins were refused?"), "status") == {"401": 1}
    [stream] = ask(loki, "From where?")
    assert [line for _, line in stream["values"]] == ["401 203.0.113.9 me"]


def test_lines_are_found_by_service_and_text(loki: httpx.Client):
    def lines(**chosen: str) -> list[str]:
        return sorted(line for stream in ask(loki, "What was written?", **chosen) for _, line in stream["values"])

    assert len(lines()) == sum(map(len, LINES.values()))
    assert lines(service="prometheus", text=re.escape("FAILED")) == ['ts=2026 level=error msg="Failed"']
    assert lines(text="no such text") == []


def test_what_the_documentation_asks_is_answered(loki: httpx.Client):
    [block] = re.findall(r"```logql\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    found = {}
    for query in block.splitlines():
        answer = loki.get("/loki/api/v1/query_range", params={"query": query, "since": "10m"})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        found[query] = len(answer.json()["data"]["result"])
    assert all(found.values()), found


def test_it_has_the_labels_that_it_was_told_of_and_makes_none_up(loki: httpx.Client):
    assert loki.get("/loki/api/v1/labels").json()["data"] == list(logs.LABELS)


def test_prometheus_can_ask_it_how_it_is(loki: httpx.Client):
    assert "loki_build_info" in loki.get("/metrics").text
