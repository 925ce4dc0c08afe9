"""What a real Alertmanager does with the rendered configuration: groups, inhibits, escalates, keeps silences."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alert_rules.catalogue import alerts, named
from alert_rules.routing.inhibition import CAUSES
from provisioning.config.load import load
from provisioning.config.model import Config
from provisioning.render import Places, render
from tests.alert_rules.alertmanager import Bridge, MailServer, running, subjects, wait_for
from tests.alert_rules.routing.lab import lab
from tests.tools import tool

ROOT = Path(__file__).parents[3]
DOWN = {"alertname": "DaskSchedulerDown", "severity": "critical", "system": "dask", "target": "main", "host": "gpu-1"}
HIGH = {"alertname": "DaskWorkerMemoryHigh", "severity": "warning", "system": "dask", "target": "main"}
FAILING = {"alertname": "DaskTasksFailing", "severity": "warning", "system": "dask", "target": "main"}
BLOCKED = {"alertname": "DaskSchedulerLoopBlocked", "severity": "critical", "system": "dask", "target": "main"}
QUICK = "timing: {wait: 1s, update: 1s, repeat_mail: 10m, repeat_sms: 10m}\n"


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge() as server:
        yield server


@pytest.mark.parametrize("config", [load(ROOT / "provisioning/example.yml"), lab()], ids=["example", "lab"])
def test_alertmanager_takes_it(config: Config, tmp_path: Path) -> None:
    """Today's release, too, where AMTOOL_TODAY names its amtool."""
    render(config, tmp_path, places=Places(data=tmp_path / "d", secrets=tmp_path / "s"))
    for amtool in filter(None, (tool("amtool"), os.environ.get("AMTOOL_TODAY"))):
        command = [amtool, "check-config", str(tmp_path / "alertmanager.yml")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "1 templates" in result.stdout


def test_nothing_secret_is_rendered(tmp_path: Path) -> None:
    for name in ("password", "urls", "url"):
        (tmp_path / name).write_text("s3cret-word")
    (tmp_path / "c.yml").write_text(
        "targets: {hosts: [{name: a}]}\n"
        'people: [{name: ana, email: a@b.org, sms: "+5511999990000", role: admin}]\n'
        "notifications:\n"
        "  mail: {smarthost: 'smtp.b.org:587', sender: m@b.org, username: u, password_file: password}\n"
        "  sms: {apprise: {urls_file: urls}}\n"
        "  heartbeat: {url_file: url}\n"
    )
    render(load(tmp_path / "c.yml"), tmp_path / "out", places=Places(data=tmp_path / "d", secrets=tmp_path / "s"))
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [text for text in texts if "s3cret-word" in text]
    assert f"smtp_auth_password_file: {tmp_path}/password\n" in "".join(texts)


def test_one_incident_is_one_message(mail: MailServer, tmp_path: Path) -> None:
    with running(tmp_path, lab(QUICK, smtp=mail.port)) as real:
        real.fire(DOWN, HIGH, FAILING, BLOCKED)
        wait_for(lambda: len(mail.mails) >= 2, real.log)
        real.mend(DOWN, HIGH, FAILING, BLOCKED)
        wait_for(lambda: len(mail.mails) >= 4, real.log)
    told = sorted((found.to[0], found.subject.split(":")[0]) for found in mail.mails)
    assert told == [
        (f"{who}@example.org", said) for who in ("ana", "ben") for said in ("[CRITICAL] lab", "[RESOLVED] lab")
    ]
    firing = {found.subject for found in mail.mails if "CRITICAL" in found.subject}
    assert firing == {"[CRITICAL] lab: DaskSchedulerDown is the matter"}


def test_root_causes_hide_their_consequences_and_nothing_else(tmp_path: Path) -> None:
    model = {"alertname": "OllamaModelNotLoaded", "severity": "warning", "system": "ollama", "target": "gpu"}
    full = {"alertname": "HostDiskFull", "severity": "critical", "system": "host", "host": "gpu-1", "mountpoint": "/"}
    filling = {"alertname": "HostDiskFillingUp", "severity": "warning", "system": "host", "host": "gpu-1"}
    real_alerts = [
        DOWN,
        HIGH,
        FAILING | {"target": "other"},
        model | {"model": "a", "host": "gpu-2"},
        {**model, "alertname": "OllamaModelMissing", "severity": "critical", "model": "b"},
        full,
        filling | {"mountpoint": "/data"},
        # Without labels that belong together, nothing is hidden.
        {"alertname": "DaskStalled", "severity": "warning", "system": "dask"},
        {"alertname": "HostHot", "severity": "warning", "system": "host"},
        {"alertname": "OllamaDown", "severity": "critical", "system": "ollama"},
        {"alertname": "OllamaModelOnCpu", "severity": "warning", "system": "ollama"},
    ]
    with running(tmp_path, lab(QUICK)) as real:
        real.fire(*real_alerts)
        wait_for(lambda: real.inhibited() == {"DaskWorkerMemoryHigh"}, real.log)
        # A machine that is gone: its own alerts, and those of what runs on it.
        real.fire({"alertname": "HostDown", "severity": "critical", "system": "host", "host": "gpu-1"})
        expected = {"DaskWorkerMemoryHigh", "DaskSchedulerDown", "HostDiskFull", "HostDiskFillingUp"}
        wait_for(lambda: real.inhibited() == expected, real.log)


def test_a_test_hides_nothing_and_is_not_hidden(tmp_path: Path) -> None:
    with running(tmp_path, lab(QUICK)) as real:
        real.fire(DOWN | {"test": "1"}, HIGH, BLOCKED, {**HIGH, "alertname": "DaskSchedulerLoopSlow"})
        wait_for(lambda: real.inhibited() == {"DaskSchedulerLoopSlow"}, real.log)
        real.fire(FAILING | {"test": "2"}, DOWN)
        wait_for(lambda: "DaskSchedulerLoopBlocked" in real.inhibited(), real.log)
        assert "DaskTasksFailing" not in real.inhibited()


def test_every_cause_and_consequence_is_an_alert_with_those_labels() -> None:
    known = {alert.name for alert in alerts()}
    named_in_table = {name for cause in CAUSES for name in (cause.alert, *cause.alerts)}
    assert named_in_table <= known
    for cause in CAUSES:
        for name in (cause.alert, *cause.alerts):
            assert set(cause.same) <= set(named(name).labels), f"{name} has no {cause.same}"
            assert cause.alert == name or name not in {other.alert for other in CAUSES if cause.alert in other.alerts}


def test_who_does_not_acknowledge_is_followed_by_others(mail: MailServer, bridge: Bridge, tmp_path: Path) -> None:
    config = lab(
        QUICK + "routes: [{to: [ana], by: [sms], escalate: [{after: 6s, to: [eva]}]}]\n",
        smtp=mail.port,
    )
    other = DOWN | {"target": "other"}
    with running(tmp_path, config, bridge=bridge.port) as real:
        real.fire(DOWN, other)
        wait_for(lambda: len(bridge.posts) == 2, real.log)
        real.silence({"target": "other"})
        wait_for(lambda: len(mail.mails) == 1 and len(bridge.posts) == 3, real.log)
    assert [path for path, _, _ in bridge.posts] == ["/v1/alerts/ana", "/v1/alerts/ana", "/v1/alerts/eva"]
    assert {token for _, token, _ in bridge.posts} == {"Bearer the-token"}
    assert bridge.posts[-1][2]["receiver"] == "eva by sms after 6s"
    assert subjects(mail.mails) == ["[CRITICAL] lab: not acknowledged for 6s: DaskSchedulerDown is the matter"]
    assert "Nobody acknowledged this within 6s" in mail.mails[0].body("plain")


def test_a_new_alert_waits_although_another_of_its_target_has_waited(bridge: Bridge, tmp_path: Path) -> None:
    config = lab(QUICK + "routes: [{to: [ana], by: [sms], escalate: [{after: 6s, to: [eva], by: [sms]}]}]\n")
    clock = DOWN | {"target": "clock"}

    def told(who: str, text: str) -> bool:
        return any(path.endswith(who) and text in json.dumps(post) for path, _, post in bridge.posts)

    with running(tmp_path, config, bridge=bridge.port) as real:
        real.fire(DOWN, clock)
        wait_for(lambda: told("ana", "DaskSchedulerDown"), real.log)
        real.mend(DOWN)
        real.fire(BLOCKED)
        wait_for(lambda: told("ana", "DaskSchedulerLoopBlocked"), real.log)
        wait_for(lambda: told("eva", '"clock"'), real.log)  # six seconds after the first two began
        real.mend(BLOCKED)
        wait_for(lambda: told("ana", "resolved"), real.log)
        assert not told("eva", '"main"')


def test_when_an_acknowledgement_lapses_they_are_told_again(mail: MailServer, tmp_path: Path) -> None:
    quick = "timing: {wait: 1s, update: 1s, repeat_mail: 2s}\nroutes: [{to: [ben]}]\n"
    with running(tmp_path, lab(quick, smtp=mail.port)) as real:
        real.fire(DOWN)
        wait_for(lambda: len(mail.mails) == 1, real.log)
        before = len(mail.mails)
        real.silence({"target": "main"}, seconds=4)
        wait_for(lambda: not real.silences(), real.log)
        wait_for(lambda: len(mail.mails) > before, real.log)
    assert set(subjects(mail.mails)) == {"[CRITICAL] lab: DaskSchedulerDown is the matter"}


def test_outside_of_hours_nobody_is_told(mail: MailServer, tmp_path: Path) -> None:
    """With the clock as it is: one has hours now, the other has not."""
    today = datetime.now(UTC)
    days = [f"{today + timedelta(days=offset):%A}".lower() for offset in (-1, 0, 1)]
    other = [day for day in ("monday", "tuesday", "wednesday", "thursday", "friday") if day not in days]
    hours = (
        f"routes: [{{outside: now, to: [ana], by: [mail]}}, {{during: now, to: [ben]}}]\n"
        f"mutes: [{{name: m, targets: [gpu], begin: {today - timedelta(days=1):%Y-%m-%d} 00:00, "
        f"end: {today + timedelta(days=2):%Y-%m-%d} 00:00}}]\n"
    )
    config = lab(QUICK + hours.replace("now", "office"), smtp=mail.port)
    office = config.notifications.hours[0]
    during = office.times[0].model_copy(update={"days": days, "begin": "00:00", "end": "24:00"})
    never = office.times[0].model_copy(update={"days": other})
    told = config.notifications.model_copy(update={"hours": [office.model_copy(update={"times": [during, never]})]})
    with running(tmp_path, config.model_copy(update={"notifications": told})) as real:
        real.fire(DOWN | {"target": "gpu"}, DOWN)
        wait_for(lambda: len(mail.mails) == 1, real.log)
        real.fire(DOWN | {"target": "third"})
        wait_for(lambda: len(mail.mails) == 2, real.log)
    assert [found.to for found in mail.mails] == [["ben@example.org"]] * 2
    assert "target: gpu" not in "".join(found.body("plain") for found in mail.mails)


def test_silences_survive_a_restart(mail: MailServer, tmp_path: Path) -> None:
    with running(tmp_path, lab(QUICK, smtp=mail.port)) as real:
        made = real.silence({"alertname": "DaskSchedulerDown", "target": "main"})
        real.stop()
        real.start()
        assert [(silence["id"], silence["createdBy"]) for silence in real.silences()] == [(made, "ana")]
        real.fire(DOWN, DOWN | {"target": "other"})
        wait_for(lambda: len(mail.mails) >= 2, real.log)
    assert all("other" in found.body("plain") for found in mail.mails)


def test_silences_survive_a_crash_once_they_are_written(tmp_path: Path) -> None:
    with running(tmp_path, lab(QUICK)) as real:
        made = real.silence({"target": "main"})
        wait_for(lambda: made.encode() in _kept(tmp_path), real.log)
        real.kill()
        real.start()
        assert [silence["id"] for silence in real.silences()] == [made]


def _kept(folder: Path) -> bytes:
    file = folder / "alertmanager/silences"
    return file.read_bytes() if file.exists() else b""


def test_the_mail_server_is_given_the_password_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("s3cret")
    with MailServer(password="s3cret") as server:
        config = lab(QUICK, smtp=server.port)
        login = {"username": "apikey", "password_file": tmp_path / "word"}
        assert config.notifications.mail
        account = config.notifications.mail.model_copy(update=login)
        told = config.notifications.model_copy(update={"mail": account})
        with running(tmp_path, config.model_copy(update={"notifications": told})) as real:
            real.fire(DOWN)
            wait_for(lambda: len(server.mails) == 2, real.log)


def test_heartbeats_go_on(bridge: Bridge, tmp_path: Path) -> None:
    with running(tmp_path, lab("heartbeat: {url_file: url, every: 1s}\n"), bridge=bridge.port) as real:
        real.fire({"alertname": "Watchdog", "severity": "info", "system": "monitoring"})
        wait_for(lambda: len(bridge.posts) >= 3, real.log)
    assert {path for path, _, _ in bridge.posts} == {"/v1/heartbeat"}
