"""Who comes in, what is understood, what the metrics say."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from pydantic import ValidationError

from alert_rules.bridge.heartbeat import Beat
from alert_rules.bridge.reports import Reports
from alert_rules.bridge.text import Style, compose
from alert_rules.bridge.web import Bridge, Callback
from alert_rules.bridge.webhook import Notification
from exporter.door.settings import WebSettings
from provisioning.config.notifications import Heartbeat
from provisioning.config.secrets import SecretFile
from tests.alert_rules.bridge.making import ANA, BO, Sending, sending
from tests.alert_rules.bridge.posts import alert, post
from tests.standins import twilio as stand_in
from tests.standins.twilio import sign

TOKEN = "the-bearer-token"
LOGIN = {"Authorization": f"Bearer {TOKEN}"}
CALLBACK = "https://monitoring.example.org/sms/status"
PEOPLE = {"ana": ANA, "bo": BO}


@dataclass
class Served:
    http: TestClient[web.Request, web.Application]
    sending: Sending
    folder: Path

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
        async with self.http.post(path, json=body, headers=LOGIN if headers is None else headers) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def serving(folder: Path, url: str, *, all_of_it: bool = True) -> AsyncIterator[Served]:
    (folder / "token").write_text(TOKEN)
    (folder / "beat").write_text("http://127.0.0.1:9/secret")
    async with sending(folder, url, None) as parts:
        reports = Reports(parts.deliveries.ledger, parts.instead, parts.metrics, PEOPLE.get, parts.clock)
        beat = Beat(Heartbeat(url_file=folder / "beat"))
        bridge = Bridge(
            token=SecretFile(folder / "token"),
            people=PEOPLE,
            deliveries=parts.deliveries if all_of_it else None,
            reports=reports if all_of_it else None,
            callback=Callback(CALLBACK, SecretFile(folder / "auth-token")) if all_of_it else None,
            beat=beat if all_of_it else None,
            metrics=parts.metrics,
            settings=WebSettings(None),
        )
        async with TestClient(TestServer(bridge.application())) as http:
            yield Served(http, parts, folder)
        await beat.close()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer é"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/alerts/ana", "/v1/alerts/nobody", "/v1/heartbeat"])
async def test_without_the_token_nothing_is_told(tmp_path, twilio, path, headers):
    async with serving(tmp_path, twilio.url) as bridge:
        status, text = await bridge.post(path, post(), headers)
        assert (status, text) == (401, "The bearer token is missing or wrong.\n")
    assert twilio.posts == 0


async def test_a_changed_token_counts_at_once(tmp_path, twilio):
    async with serving(tmp_path, twilio.url) as bridge:
        (tmp_path / "token").write_text("another-token")
        assert (await bridge.post("/v1/alerts/ana", post()))[0] == 401
        assert (await bridge.post("/v1/alerts/ana", post(), {"Authorization": "bearer another-token"}))[0] == 200
        (tmp_path / "token").unlink()
        assert (await bridge.post("/v1/alerts/ana", post()))[0] == 503
        async with bridge.http.get("/-/ready") as answer:
            assert answer.status == 503
            assert "token: No such file" in await answer.text()


async def test_a_person_without_a_number_is_not_there(tmp_path, twilio):
    async with serving(tmp_path, twilio.url) as bridge:
        status, text = await bridge.post("/v1/alerts/carl", post())
        assert (status, text) == (404, "Nobody called 'carl' is told by SMS in the configuration.\n")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "the body: "),
        ({}, "version: Field required"),
        (post() | {"version": "3"}, "version: Input should be '4'"),
        (post() | {"alerts": []}, "alerts: List should have at least 1 item"),
        (post() | {"alerts": [{}]}, "alerts.0.status: Field required"),
        (post(alert() | {"status": "odd"}), "alerts.0.status: "),
        (post() | {"truncatedAlerts": -1}, "truncatedAlerts: "),
    ],
)
async def test_what_is_no_webhook_is_refused_with_its_place(tmp_path, twilio, body, says):
    async with serving(tmp_path, twilio.url) as bridge:
        status, text = await bridge.post("/v1/alerts/ana", body)
        assert status == 400
        assert f"version 4: {says}" in text
    assert twilio.posts == 0


async def test_broken_json_is_refused(tmp_path, twilio):
    async with serving(tmp_path, twilio.url) as bridge:
        for data in (b"", b"{", b"\xff", b"[" * 100_000):
            async with bridge.http.post("/v1/alerts/ana", data=data, headers=LOGIN) as answer:
                assert answer.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(post())), value=JSON)
def test_any_value_is_understood_or_refused(key, value):
    try:
        Notification.model_validate(post() | {key: value})
    except ValidationError:
        return


@given(key=st.sampled_from(sorted(alert())), value=JSON)
def test_any_alert_is_understood_or_refused(key, value):
    try:
        told = Notification.model_validate(post(alert() | {key: value}))
    except ValidationError:
        return
    compose(told, Style("lab", "https://monitoring.example.org"), datetime.now(UTC))


async def test_delivery_reports_need_twilio_s_signature(tmp_path, twilio):
    async with serving(tmp_path, twilio.url) as bridge:
        await bridge.post("/v1/alerts/bo", post())
        sid = twilio.taken[0].sid
        form = {"MessageSid": sid, "MessageStatus": "delivered", "Odd": ""}

        async def report(signature: str | None, query: str = "?message=x") -> int:
            headers = {} if signature is None else {"X-Twilio-Signature": signature}
            path = f"/v1/twilio/status{query}"
            async with bridge.http.post(path, data=form, headers=headers) as answer:
                return answer.status

        good = sign(stand_in.TOKEN, f"{CALLBACK}?message=x", form)
        assert await report(None) == 403
        assert await report(sign("a guess", f"{CALLBACK}?message=x", form)) == 403
        assert await report(good, "?message=y") == 403, "another address"
        assert bridge.sending.value("cluster_ai_sms_deliveries_total", status="delivered") == 0
        assert await report(good) == 204
        assert await report(good) == 204
        assert bridge.sending.value("cluster_ai_sms_deliveries_total", status="delivered") == 1
        form["MessageStatus"] = "failed"
        assert await report(good) == 403, "another word"
        form |= {"MessageSid": "SM0", "MessageStatus": "delivered"}
        assert await report(sign(stand_in.TOKEN, CALLBACK, form), "") == 204, "a message of somebody else's"


async def test_a_report_proves_that_a_message_left(tmp_path, twilio):
    """The answer to the POST was lost, and the list cannot be had: the report under our own name of it is enough."""
    twilio.fail(stand_in.Fault.HANG_TAKEN)
    twilio.list_fails = True
    async with serving(tmp_path, twilio.url) as bridge:
        assert (await bridge.post("/v1/alerts/bo", post()))[0] == 200
        (row,) = await bridge.sending.ledger._all("SELECT id FROM messages")
        await bridge.sending.ledger._all("UPDATE messages SET state = 'open'")
        form = {"MessageSid": twilio.taken[0].sid, "MessageStatus": "sent"}
        query = f"?message={row[0]}"
        headers = {"X-Twilio-Signature": sign(stand_in.TOKEN, CALLBACK + query, form)}
        async with bridge.http.post(f"/v1/twilio/status{query}", data=form, headers=headers) as answer:
            assert answer.status == 204
        found = await bridge.sending.ledger.get(str(row[0]))
        assert found is not None
        assert (found.state, found.sid) == ("sent", twilio.taken[0].sid)


async def test_a_heartbeat_that_does_not_arrive_is_counted_and_no_failure_of_alertmanager(
    tmp_path, twilio, monkeypatch, caplog
):
    monkeypatch.setattr("alert_rules.bridge.heartbeat._PAUSES", (0.01, 0.01))
    async with serving(tmp_path, twilio.url) as bridge:
        for _ in range(3):
            status, text = await bridge.post("/v1/heartbeat", post())
            assert (status, text) == (202, "Not passed on: the heartbeat's service cannot be reached: ConnectError.\n")
        assert caplog.text.count("signs of life are not passed on") == 1
        resolved = post(alert(status="resolved"))
        assert (await bridge.post("/v1/heartbeat", resolved))[0] == 200
        assert bridge.sending.value("cluster_ai_heartbeat_pings_total", result="failed") == 3
        assert bridge.sending.value("cluster_ai_heartbeat_last_success_timestamp_seconds") == 0


async def test_what_is_not_configured_is_said(tmp_path, twilio):
    async with serving(tmp_path, twilio.url, all_of_it=False) as bridge:
        assert (await bridge.post("/v1/alerts/ana", post()))[0] == 404
        assert await bridge.post("/v1/heartbeat", post()) == (404, "notifications.heartbeat is not configured.\n")
        assert (await bridge.post("/v1/twilio/status", {}))[0] == 404
        for path in ("/", "/-/healthy", "/-/ready", "/metrics"):
            async with bridge.http.get(path) as answer:
                assert answer.status == 200


async def test_metrics_are_there_from_the_start_in_both_formats_and_documented(tmp_path, twilio):
    page = (Path(__file__).parents[3] / "docs/sms.md").read_text()
    async with serving(tmp_path, twilio.url) as bridge:
        await bridge.post("/v1/alerts/ana", post())
        for accept, parse in (("text/plain", plain), ("application/openmetrics-text", openmetrics)):
            async with bridge.http.get("/metrics", headers={"Accept": accept}) as answer:
                families = {family.name: family for family in parse(await answer.text())}
            ours = {
                name: family
                for name, family in families.items()
                if name.startswith("cluster_ai_") and not name.endswith("_created")
            }
            assert len(ours) == 12
            for name, family in ours.items():
                assert family.documentation
                assert re.search(rf"`{name}(_total)?`", page), f"{name} is not in docs/sms.md"
            counts = {
                sample.labels["result"]: sample.value
                for sample in ours["cluster_ai_sms_messages"].samples
                if sample.name.endswith("_total")
            }
            assert counts == {"sent": 1, "refused": 0, "unknown": 0, "waiting": 0, "capped": 0, "duplicate": 0}


async def test_answers_are_counted_by_endpoint_and_never_by_path(tmp_path, twilio):
    async with serving(tmp_path, twilio.url) as bridge:
        await bridge.post("/v1/alerts/some-secret-name", post())
        await bridge.post("/elsewhere", post())
        async with bridge.http.get("/metrics") as answer:
            text = await answer.text()
    assert 'cluster_ai_sms_bridge_http_requests_total{code="404",handler="/v1/alerts/{person}"} 1.0' in text
    assert 'cluster_ai_sms_bridge_http_requests_total{code="404",handler="other"} 1.0' in text
    assert "some-secret-name" not in text


async def test_a_heartbeat_is_tried_three_times(tmp_path, twilio, monkeypatch):
    monkeypatch.setattr("alert_rules.bridge.heartbeat._PAUSES", (0.01, 0.01))
    answers = [500, 503, 200]

    async def ping(_: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0))

    service = web.Application()
    service.router.add_get("/ping/secret", ping)
    async with TestServer(service) as server, serving(tmp_path, twilio.url) as bridge:
        (tmp_path / "beat").write_text(str(server.make_url("/ping/secret")))
        assert await bridge.post("/v1/heartbeat", post()) == (200, "Passed on.\n")
        assert answers == []
        assert bridge.sending.value("cluster_ai_heartbeat_pings_total", result="passed") == 1
        assert bridge.sending.value("cluster_ai_heartbeat_last_success_timestamp_seconds") > 0


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /v1/alerts/ana HTTP/1.1\r\nAuthorization: Bearer \xff\xfe",
        b"POST /v1/heartbeat HTTP/1.1\r\nAuthorization: Bearer \xff\xfe",
        b"POST /v1/twilio/status HTTP/1.1\r\nX-Twilio-Signature: \xff\xfe",
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=x",
    ],
)
async def test_a_header_that_is_no_text_is_answered_and_not_logged(tmp_path, twilio, request_head, caplog):
    """Anybody could otherwise have a traceback written for each request."""
    async with serving(tmp_path, twilio.url) as bridge:
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.http.port)
        writer.write(request_head + b"\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        status = int((await reader.readline()).split()[1])
        writer.close()
    assert status == (200 if b"GET" in request_head else 403 if b"twilio" in request_head else 401)
    assert not [record for record in caplog.records if record.name != "aiohttp.access"]  # the test server's own


@pytest.mark.parametrize("body", [b"a=&" * 300_000, b"a=" + b"x" * 100_000, b"a=&" * 101])
async def test_a_delivery_report_of_megabytes_is_not_read(tmp_path, twilio, body):
    """The internet may post here: millions of fields took seconds and gigabytes before anybody looked at who signed."""
    async with serving(tmp_path, twilio.url) as bridge:
        began = time.process_time()
        async with bridge.http.post("/v1/twilio/status", data=body) as answer:
            assert answer.status == 413
        assert time.process_time() - began < 0.2


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_a_heartbeat_s_answer_that_goes_on_for_ever_is_a_sign_of_life_all_the_same(tmp_path, twilio, pause):
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            await asyncio.sleep(pause)

    app = web.Application()
    app.router.add_get("/", endless)
    async with TestServer(app) as service, serving(tmp_path, twilio.url) as bridge:
        (bridge.folder / "beat").write_text(str(service.make_url("/")))
        async with asyncio.timeout(5):
            assert await bridge.post("/v1/heartbeat", post()) == (200, "Passed on.\n")
