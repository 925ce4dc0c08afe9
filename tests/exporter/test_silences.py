"""What is acknowledged, as Alertmanager tells it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.families import Family, encode
from exporter.silences import MOST, Silences, read

# As Alertmanager 0.25 answers, without what is not read.
SILENCES: list[dict[str, Any]] = [
    {"id": "one", "endsAt": "2026-11-23T05:17:34.000Z", "status": {"state": "active"}, "createdBy": "ana"},
    {"id": "two", "endsAt": "2026-11-23T06:00:00.000Z", "status": {"state": "active"}, "createdBy": "rui"},
]


def alert(silenced: tuple[str, ...] = (), inhibited: tuple[str, ...] = (), **labels: str) -> dict[str, Any]:
    status = {"state": "suppressed", "silencedBy": list(silenced), "inhibitedBy": list(inhibited)}
    return {"labels": {"cluster": "lab", **labels}, "status": status}


def text(*alerts: dict[str, Any]) -> list[str]:
    return [line for line in encode(read(alerts, SILENCES), openmetrics=False).splitlines() if line[0] != "#"]


def test_an_acknowledged_alert_tells_when_the_last_of_its_silences_ends():
    down = alert(("one", "two", "ended meanwhile"), alertname="OllamaDown", target="gpu-1", severity="critical")
    labels = 'alertname="OllamaDown",severity="critical",target="gpu-1"'
    assert text(down) == [f"cluster_ai_alert_silenced_until_timestamp_seconds{{{labels}}} 1.7954136e+09"]


def test_alerts_that_differ_in_other_labels_alone_are_one_series():
    both = [alert((one,), alertname="HostDiskFull", mountpoint=f"/{one}") for one in ("two", "one")]
    assert text(*both) == ['cluster_ai_alert_silenced_until_timestamp_seconds{alertname="HostDiskFull"} 1.7954136e+09']


def test_an_alert_that_a_worse_one_explains_is_not_acknowledged():
    assert text(alert(inhibited=("fingerprint",), alertname="DaskWorkerLost", worker='a"b')) == [
        'cluster_ai_alert_inhibited{alertname="DaskWorkerLost",worker="a\\"b"} 1.0'
    ]


def test_a_flood_is_cut():
    assert len(text(*(alert(("one",), alertname=f"A{number}") for number in range(MOST + 5)))) == MOST


async def asked_of(serve: Callable[[web.Request], Awaitable[web.Response]]) -> list[Family]:
    """What is made of the answers of an Alertmanager."""
    application = web.Application()
    application.router.add_get("/api/v2/{what}", serve)
    server = TestServer(application)
    await server.start_server()
    silences = Silences(f"127.0.0.1:{server.port}")
    try:
        return await silences.families()
    finally:
        await silences.close()
        await server.close()


@pytest.mark.parametrize("answer", [{}, [{"labels": {}}], [1], "no JSON"])
async def test_what_is_no_alertmanager_is_said_and_nothing_is_made_up(answer: object):
    async def serve(_request: web.Request) -> web.Response:
        return web.json_response(answer) if answer != "no JSON" else web.Response(text="<html>")

    families = await asked_of(serve)
    down = [line for line in encode(families, openmetrics=False).splitlines() if line[0] != "#"]
    assert down == ["cluster_ai_exporter_alertmanager_up 0.0"]


async def test_alertmanager_is_asked_for_what_it_holds_back():
    asked: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        asked.append(str(request.rel_url))
        return web.json_response([alert(("one",), alertname="A")] if "alerts" in asked[-1] else SILENCES)

    families = await asked_of(serve)
    assert asked == [
        "/api/v2/alerts?active=false&unprocessed=false&silenced=true&inhibited=true",
        "/api/v2/silences",
    ]
    said = encode(families, openmetrics=False)
    assert "cluster_ai_exporter_alertmanager_up 1.0" in said
    assert 'cluster_ai_alert_silenced_until_timestamp_seconds{alertname="A"} 1.795411054e+09' in said
