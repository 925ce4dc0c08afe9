"""The bridge as it runs: killed in the middle, doubled, behind a real Alertmanager."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from alert_rules.messages.templates import templates
from alert_rules.routing.settings import settings
from compose.native.child import _die_with
from provisioning.config.load import load
from tests.alert_rules.bridge.posts import alert, post
from tests.alert_rules.bridge.process import TOKEN, Bridge, running, wait
from tests.standins import twilio as stand_in
from tests.standins.twilio import Fault
from tests.tools import tool

ANA = "+5511999990000"


@pytest.fixture
def bridge(tmp_path, twilio, mailbox) -> Bridge:
    return Bridge(tmp_path / "one", twilio.url, mailbox.address)


@pytest.mark.parametrize("fault", [Fault.HANG_TAKEN, Fault.HANG])
def test_killed_in_the_middle_of_sending_it_tells_once(bridge, twilio, mailbox, fault):
    """Whether Twilio had it or not, and without Alertmanager coming again."""
    twilio.fail(fault)
    with running(bridge), ThreadPoolExecutor() as pool:
        asked = pool.submit(bridge.tell, post())
        wait(lambda: twilio.posts == 1 and (twilio.taken or fault is Fault.HANG), "Twilio was asked")
        bridge.kill()
        with pytest.raises(httpx.HTTPError):
            asked.result().raise_for_status()
        bridge.start()
        wait(lambda: _count(bridge, 'messages_total{result="sent"}') == 1, "it is known as sent")
        assert bridge.tell(post()).status_code == 200
    assert len(twilio.to(ANA)) == 1
    assert mailbox.mails == []


@pytest.mark.parametrize(("fault", "answer"), [(Fault.HANG_TAKEN, 200), (Fault.HANG, 503)])
def test_stopped_in_the_middle_of_sending_it_ends_what_it_has_in_hand(bridge, twilio, fault, answer):
    twilio.fail(fault)
    with running(bridge), ThreadPoolExecutor() as pool:
        asked = pool.submit(bridge.tell, post())
        wait(lambda: twilio.posts == 1, "Twilio was asked")
        assert bridge.kill(signal.SIGTERM) == 0
        assert asked.result().status_code == answer
        bridge.start()
        assert bridge.tell(post()).status_code == 200
    assert len(twilio.to(ANA)) == 1


def test_killed_before_it_answers_and_told_again_is_one_sms(bridge, twilio):
    with running(bridge):
        assert bridge.tell(post()).status_code == 200
        bridge.kill()
        bridge.start()
        assert bridge.tell(post()).status_code == 200
    assert len(twilio.taken) == 1


def test_two_bridges_and_two_alertmanagers_send_one_sms(tmp_path, twilio, mailbox, redis):
    more = f"redis_url_file: {redis.url_file}"
    pair = [Bridge(tmp_path / name, twilio.url, mailbox.address, more=more) for name in ("one", "two")]
    twilio.slowness = 0.3
    with running(*pair), ThreadPoolExecutor(16) as pool:
        for n in range(5):
            twilio.fail(Fault.SLOW)
            body = post(alert(f"Alert{n}"))
            answers = list(pool.map(lambda one, body=body: one.tell(body).status_code, pair * 4))
            assert set(answers) == {200}
        assert len(twilio.taken) == 5


def test_one_of_two_bridges_killed_in_the_middle(tmp_path, twilio, mailbox, redis):
    more = f"redis_url_file: {redis.url_file}"
    pair = [Bridge(tmp_path / name, twilio.url, mailbox.address, more=more) for name in ("one", "two")]
    twilio.fail(Fault.HANG_TAKEN)
    with running(*pair), ThreadPoolExecutor() as pool:
        asked = pool.submit(pair[0].tell, post())
        wait(lambda: twilio.taken, "Twilio has it")
        pair[0].kill()
        with pytest.raises(httpx.HTTPError):
            asked.result()
        answers = [pair[1].tell(post()).status_code for _ in range(3)]
        assert answers[-1] == 200
        assert set(answers) <= {200, 503}
    assert twilio.posts == 1
    assert mailbox.mails == []


def test_redis_gone_and_back(tmp_path, twilio, mailbox, redis):
    """No SMS waits for Redis, and the provider's list keeps two bridges from sending the same."""
    more = f"redis_url_file: {redis.url_file}"
    pair = [Bridge(tmp_path / name, twilio.url, mailbox.address, more=more) for name in ("one", "two")]
    with running(*pair):
        redis.stop()
        assert [one.tell(post()).status_code for one in pair] == [200, 200]
        assert len(twilio.taken) == 1
        redis.start()
        assert [one.tell(post()).status_code for one in pair] == [200, 200]
        assert [one.tell(post(alert("Other"))).status_code for one in pair] == [200, 200]
    assert len(twilio.taken) == 2


def test_delivery_reports_arrive_and_a_failed_one_becomes_a_mail(bridge, twilio, mailbox):
    with running(bridge):
        bridge.tell(post())
        bridge.tell(post(), person="bo")
        first, second = twilio.taken
        assert twilio.report(first, "sent") == 204
        assert twilio.report(first, "undelivered", 30003) == 204
        assert twilio.report(first, "undelivered", 30003) == 204
        assert twilio.report(second, "delivered") == 204
        assert _count(bridge, 'deliveries_total{status="undelivered"}') == 1
        assert _count(bridge, 'deliveries_total{status="delivered"}') == 1
        (mail,) = mailbox.mails
        assert "the SMS was undelivered on its way to the phone (error 30003)" in mail.get_content()
        forged = httpx.post(
            first.callback,
            data={"MessageSid": second.sid, "MessageStatus": "failed"},
            headers={"X-Twilio-Signature": stand_in.sign("a guess", first.callback, {})},
        )
        assert forged.status_code == 403


def test_without_a_callback_the_provider_is_asked(tmp_path, twilio, mailbox):
    bridge = Bridge(tmp_path / "one", twilio.url, mailbox.address)
    bridge.config.write_text(bridge.config.read_text().replace("status_callback:", "# status_callback:"))
    twilio.fail(Fault.UNREGISTERED)
    with running(bridge):
        assert bridge.tell(post()).status_code == 200
        wait(lambda: mailbox.mails, "the mail")
        assert "(error 30034)" in mailbox.mails[0].get_content()


def test_what_the_log_holds(bridge, twilio, mailbox):
    for fault in (Fault.ERROR, Fault.RATE_LIMITED, Fault.HANG):
        twilio.fail(fault)
    with running(bridge):
        for n in range(5):
            bridge.tell(post(alert(f"Alert{n}")))
        bridge.tell(post(), person="nobody")
        bridge.tell({})
        _beat(bridge, post())
        assert bridge.kill(signal.SIGTERM) == 0
    log = bridge.log.read_text()
    assert "handing over an SMS to ana: Twilio answers 500, error 20500" in log
    assert "signs of life are not passed on: the heartbeat's service cannot be reached: ConnectError" in log
    assert "stopping" in log
    assert "Traceback" not in log
    for secret in ("5511999", "5511%", "ana@", TOKEN, stand_in.TOKEN, stand_in.API_SECRET, "secret-of-the-heartbeat"):
        assert secret not in log


def test_a_broken_start_says_why(tmp_path, twilio, mailbox):
    bridge = Bridge(tmp_path / "one", twilio.url, mailbox.address)
    bridge.config.write_text(bridge.config.read_text().replace("sender:", "sendr:", 1))
    with pytest.raises(AssertionError, match="sendr"), running(bridge):
        pass


def _beat(bridge: Bridge, body: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.post(f"{bridge.url}/v1/heartbeat", json=body, headers=headers).status_code


def _count(bridge: Bridge, name: str) -> float:
    for line in bridge.metrics().splitlines():
        if line.startswith(f"cluster_ai_sms_{name} "):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(name)


class Alertmanager:
    """Debian's 0.25 or newer, with the configuration that is rendered for this bridge."""

    def __init__(self, folder: Path, bridge: Bridge) -> None:
        self._folder = folder / "alertmanager"
        (self._folder / "alertmanager").mkdir(parents=True)
        self._port = bridge.alertmanager
        config = load(bridge.config)
        for name, text in templates(config).items():
            (self._folder / "alertmanager" / name).write_text(text)
        made = settings(config, bridge=bridge.url, token=bridge.token)
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(made))
        self._program = tool("alertmanager")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._folder}/alertmanager.yml",
                    f"--storage.path={self._folder}/data",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 -- no threads are at work yet
            )
        wait(self._ready, "Alertmanager is ready")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def post(self, *, resolved: bool = False, name: str = "OllamaDown") -> None:
        now = datetime.now(UTC)
        one = {
            "labels": {
                "alertname": name,
                "severity": "critical",
                "cluster": "lab",
                "system": "ollama",
                "target": "main",
            },
            "annotations": {"summary": f"{name} on main"},
            "startsAt": (now - timedelta(minutes=1)).isoformat(),
            "endsAt": (now - timedelta(seconds=1) if resolved else now + timedelta(minutes=5)).isoformat(),
        }
        httpx.post(f"{self.url}/api/v2/alerts", json=[one]).raise_for_status()

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        return False


@pytest.fixture
def alertmanager(tmp_path, bridge) -> Iterator[Alertmanager]:
    made = Alertmanager(tmp_path, bridge)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_a_real_alertmanager_and_every_fault_at_once(bridge, alertmanager, twilio):
    """One incident is one FIRING and one RESOLVED, though Twilio fails in each of these ways first."""
    twilio.fail(Fault.RATE_LIMITED, Fault.ERROR, Fault.RESET, Fault.HANG_TAKEN)
    with running(bridge):
        alertmanager.post()
        wait(lambda: twilio.to(ANA), "the SMS", 40)
        wait(lambda: _count(bridge, 'messages_total{result="sent"}') >= 2, "both are told", 40)
        alertmanager.post(resolved=True)
        wait(lambda: len(twilio.to(ANA)) == 2, "the end of it", 20)
        wait(lambda: _count(bridge, 'messages_total{result="sent"}') == 4, "both know of the end", 20)
    for number in (ANA, "+5511999990001"):
        said = [message.body.splitlines()[:2] for message in twilio.to(number)]
        assert [lines[0].split(",")[0] for lines in said] == ["FIRING critical", "RESOLVED lab"]
        assert [lines[1] for lines in said] == ["OllamaDown: OllamaDown on main"] * 2
    assert all(message.segments <= 2 for message in twilio.taken)


def test_an_alertmanager_that_forgot_tells_nobody_twice(bridge, alertmanager, twilio, tmp_path):
    with running(bridge):
        started = datetime.now(UTC) - timedelta(minutes=1)
        one = {
            "labels": {"alertname": "OllamaDown", "severity": "critical", "system": "ollama", "target": "main"},
            "startsAt": started.isoformat(),
            "endsAt": (started + timedelta(minutes=9)).isoformat(),
        }
        httpx.post(f"{alertmanager.url}/api/v2/alerts", json=[one]).raise_for_status()
        wait(lambda: twilio.to(ANA) and twilio.to("+5511999990001"), "the SMS")
        alertmanager.stop()
        for file in (tmp_path / "alertmanager/data").iterdir():
            file.unlink()
        alertmanager.start()
        httpx.post(f"{alertmanager.url}/api/v2/alerts", json=[one]).raise_for_status()
        wait(lambda: _count(bridge, 'messages_total{result="duplicate"}') >= 2, "it comes again")
    assert len(twilio.taken) == 2


def test_the_watchdog_reaches_the_heartbeat_s_service(bridge, alertmanager):
    beats: list[str] = []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            beats.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        (bridge.folder / "heartbeat-url").write_text(f"http://127.0.0.1:{server.server_port}/ping/secret")
        with running(bridge):
            alertmanager.post(name="Watchdog")
            wait(lambda: len(beats) >= 3, "three signs of life", 20)
            assert set(beats) == {"/ping/secret"}
            metrics = bridge.metrics()
            assert 'cluster_ai_heartbeat_pings_total{result="failed"} 0.0' in metrics
            assert "cluster_ai_heartbeat_last_success_timestamp_seconds 0.0" not in metrics
    finally:
        server.shutdown()
        server.server_close()
