"""`cluster-ai alerts`: who would be told, in words; and a test that takes the whole real way."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from alert_rules.catalogue import named
from alert_rules.rehearsal import Rehearsal
from provisioning.cli import main
from provisioning.config.load import load
from tests.alert_rules.alertmanager import Alertmanager, MailServer, running, wait_for
from tests.alert_rules.routing.lab import lab, lab_text
from tests.ports import free_port

ROUTES = """
  routes:
    - severities: [critical]
      outside: office
      to: [eva]
      escalate: [{after: 15m, to: [ben]}]
    - {alerts: [DaskIdle], targets: [main], to: [ben], by: [mail]}
  mutes: [{name: move, begin: 2026-12-24 22:00, end: 2026-12-26 06:00, systems: [ollama]}]
"""
QUICK = "timing: {wait: 0s, update: 1s}\n"


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["alerts", *arguments, "--config", str(file)], catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "cluster-ai.yml"
    found.write_text(lab_text(ROUTES))
    return found


def test_routes_of_some_alerts(file: Path) -> None:
    result = run(file, "routes", "DaskSchedulerDown", "DaskIdle", "--at", "2026-11-24 03:00")
    assert result.exit_code == 0
    assert (
        result.output
        == """\
Tuesday 2026-11-24 03:00 UTC

DaskSchedulerDown
  eva by mail (eva@example.org) within 10s, again every 2h
  eva by sms (+5511999992222) within 10s, again every 1h
  ben by mail (ben@example.org) after 15m without acknowledgement, again every 2h
  not now: ana by mail (outside office)
  not now: ana by sms (outside office)
  not now: ben by mail (outside office)

DaskIdle
  ben by mail (ben@example.org) within 10s, again every 2h
"""
    )


def test_routes_of_a_case(file: Path) -> None:
    arguments = ("--severity", "critical", "--target", "gpu", "--at", "2026-12-25 12:00")
    result = run(file, "routes", "OllamaModelNotLoaded", *arguments)
    assert result.output.splitlines()[:4] == [
        "Friday 2026-12-25 12:00 UTC",
        "",
        "OllamaModelNotLoaded",
        "  nobody now; it shows on the pages",
    ]
    assert "  not now: ana by mail (mute move)" in result.output


def test_routes_of_all_alerts(file: Path) -> None:
    result = run(file, "routes", "--at", "2026-11-24 12:00")
    assert result.exit_code == 0
    heads = [line for line in result.output.splitlines()[1:] if line and not line.startswith(" ")]
    assert any(line.startswith("every critical alert of dask, host") for line in heads)
    assert any(line.startswith("every warning alert of dask, host") for line in heads)
    assert "DaskIdle" in heads
    assert "Watchdog" not in result.output


def test_an_alert_that_there_is_not(file: Path) -> None:
    result = run(file, "routes", "DaskSchedulerDwn")
    assert result.exit_code == 2
    assert result.stderr == "there is no alert 'DaskSchedulerDwn'; did you mean DaskSchedulerDown?\n"


def test_a_moment_that_there_is_not(file: Path) -> None:
    result = run(file, "routes", "--at", "tomorrow")
    assert result.exit_code == 2
    assert "is not a moment" in result.stderr


def test_a_file_with_problems(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("targets: []\n")
    result = run(tmp_path / "c.yml", "routes")
    assert result.exit_code == 1
    assert "targets: a map" in result.stderr


@contextmanager
def stack(
    folder: Path, notifications: str = QUICK, refused: str = ""
) -> Iterator[tuple[Path, Alertmanager, MailServer]]:
    """An Alertmanager and a mail server as a cluster-ai.yml describes them."""
    with MailServer(refused) as mail:
        bridge = free_port()
        config = lab(notifications, smtp=mail.port)
        with running(folder, config, bridge=bridge) as real:
            file = folder / "cluster-ai.yml"
            services = f"services: {{alertmanager: '127.0.0.1:{real.port}', sms_bridge: '127.0.0.1:{bridge}'}}\n"
            file.write_text(lab_text(notifications, smtp=mail.port) + services)
            yield file, real, mail


@contextmanager
def sms_bridge(file: Path, real: Alertmanager) -> Iterator[None]:
    """The real bridge, which writes messages to its log in place of sending them."""
    flags = ("--token-file", str(real.folder / "secrets/sms-bridge-token"), "--ledger", str(real.folder / "ledger"))
    command = [sys.executable, "-m", "provisioning.cli", "sms-bridge", "--config", str(file), *flags]
    command += ["--web.listen-address", f"127.0.0.1:{real.bridge}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _answers(f"http://127.0.0.1:{real.bridge}/-/ready"))
            yield
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_a_test_that_arrives(tmp_path: Path) -> None:
    with stack(tmp_path) as (file, real, mail):
        result = run(file, "test", "DaskTasksFailing")
        assert result.exit_code == 0, result.output
        wait_for(lambda: len(mail.mails) == 4, real.log)  # and told that it is over
    lines = result.output.splitlines()
    assert lines[1:] == [
        "  ana by mail",
        "  ben by mail",
        "Alertmanager has it; messages leave after 0ms ...",
        f"mail: 127.0.0.1:{mail.port} took 2 of 2",
        "The test is over; within 1s those who were told are told that it is. Ask them what they have seen.",
    ]
    subjects = sorted(found.subject for found in mail.mails)
    said = "lab: DaskTasksFailing is tested, nothing is broken"
    assert subjects == [f"[TEST] [{state}] {said}" for state in ("RESOLVED", "RESOLVED", "WARNING", "WARNING")]
    assert "target: main" in mail.mails[0].body("plain")
    begun = datetime.strptime(lines[0].split()[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).astimezone()
    (since,) = [line for line in mail.mails[0].body("plain").splitlines() if line.startswith("Since")]
    assert f"{begun:%H:%M:%S}" in since


def test_a_test_for_one_person_by_every_means(tmp_path: Path) -> None:
    notifications = QUICK + "sms: {apprise: {urls_file: urls}, dry_run: true}\n"
    with stack(tmp_path, notifications) as (file, real, mail), sms_bridge(file, real):
        result = run(file, "test", "DaskIdle", "--to", "eva")
        assert result.exit_code == 0, result.output
    assert [found.to for found in mail.mails if "INFO" in found.subject] == [["eva@example.org"]]
    assert f"mail: 127.0.0.1:{mail.port} took 1 of 1\nSMS: the provider took 1 of 1\n" in result.output


def test_a_mail_server_that_refuses(tmp_path: Path) -> None:
    with stack(tmp_path, refused="550 no such mailbox") as (file, _, mail):
        result = run(file, "test", "DaskTasksFailing", "--to", "ben")
    assert result.exit_code == 1
    said = rf"mail: 127.0.0.1:{mail.port} took 0 of 1; attempts that failed: \d, Alertmanager's log says why\n"
    assert re.search(said, result.output)


def test_a_bridge_that_is_not_there(tmp_path: Path) -> None:
    with stack(tmp_path) as (file, real, _):
        result = run(file, "test", "DaskSchedulerDown")
    assert result.exit_code == 1
    assert f"the SMS bridge does not answer at http://127.0.0.1:{real.bridge}: " in result.stderr
    assert "is the stack up?" in result.stderr


def test_a_bridge_that_answers_elsewhere(tmp_path: Path) -> None:
    """As from a container, where `services` is not true."""
    url = f"http://127.0.0.1:{free_port()}"
    with stack(tmp_path) as (file, *_):
        result = run(file, "test", "DaskSchedulerDown", "--bridge", f"{url}/")
    assert result.exit_code == 1
    assert f"the SMS bridge does not answer at {url}: " in result.stderr


def test_who_sends_it_may_have_no_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    config = load(file)
    rehearsal = Rehearsal.of(config, named("DaskIdle", config), "ben", {})
    assert rehearsal.texts["description"].startswith(f"uid {os.getuid()} sent this with ")


def test_an_alertmanager_that_is_not_there(file: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run(file, "test", "DaskTasksFailing", "--alertmanager", url)
    assert result.exit_code == 1
    assert f"Alertmanager does not answer at {url}: " in result.stderr


def test_a_test_that_would_reach_nobody(file: Path) -> None:
    result = run(file, "test", "DaskWorkerMemoryHigh", "--severity", "info")
    assert result.exit_code == 1
    assert result.stderr == (
        "nobody would be told of DaskWorkerMemoryHigh now; see `cluster-ai alerts routes DaskWorkerMemoryHigh`\n"
    )
    result = run(file, "test", "DaskIdle", "--to", "zoe")
    assert result.stderr == "there is no person 'zoe' in the file\n"
