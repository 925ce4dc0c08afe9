"""Names of alerts, thresholds and targets in the file, which only the rules know."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioning.checked import load_checked
from provisioning.cli import main
from provisioning.config.load import ConfigError

WRONG = """\
targets:
  dask:
    - {name: main, scheduler: "tcp://127.0.0.1:8786"}
alerts:
  thresholds:
    dask_worker_memory: 0.7
    zzz: 1
  disabled:
    - DaskSchedulrDown
    - Zzz
  overrides:
    - target: nobody
      thresholds: {host_cpu: 1}
    - target: main
      disabled: [DaskSchedulerDown]
    - target: main
      disabled:
        - Watchdog
people: [{name: ana, email: a@b.org}]
notifications:
  mail: {smarthost: "localhost:25", sender: m@b.org, tls: false}
  routes:
    - {alerts: [DaskSchedulerDwn], to: [ana], by: [mail]}
  mutes:
    - {name: m, alerts: [DaskIdle, Zzz], begin: 2026-12-24 22:00, end: 2026-12-25 22:00}
"""
SAID = """\
FILE:6: alerts.thresholds.dask_worker_memory: there is no threshold dask_worker_memory; did you mean \
dask_worker_memory_ratio?
FILE:7: alerts.thresholds.zzz: there is no threshold zzz; docs/alerts.md lists them
FILE:9: alerts.disabled[0]: there is no alert DaskSchedulrDown; did you mean DaskSchedulerDown?
FILE:10: alerts.disabled[1]: there is no alert Zzz; docs/alerts.md lists them
FILE:12: alerts.overrides[0].target: there is no target or host "nobody"; known here: main
FILE:13: alerts.overrides[0].thresholds.host_cpu: there is no threshold host_cpu; did you mean host_cpu_ratio?
FILE:16: alerts.overrides[2].target: "main" is listed twice; the first is on line 14
FILE:18: alerts.overrides[2].disabled[0]: Watchdog is about no single target; write it under alerts.disabled, or keep it
FILE:23: notifications.routes[0].alerts[0]: there is no alert DaskSchedulerDwn; did you mean DaskSchedulerDown?
FILE:25: notifications.mutes "m": alerts[1]: there is no alert Zzz; docs/alerts.md lists them"""


def test_a_web_configuration_that_keeps_the_exporter_from_starting_is_an_error(tmp_path: Path) -> None:
    file, web = tmp_path / "cluster-ai.yml", tmp_path / "web.yml"
    file.write_text("targets: {ollama: [{name: a, url: 'http://a:1'}]}\nexporter:\n  web_config_file: web.yml\n")
    web.write_text("")
    [warning] = load_checked(file).warnings
    assert warning.text(file) == (
        f"{file}:3: exporter.web_config_file: {web} is empty; "
        "the exporter then asks for nothing: neither TLS nor a password"
    )
    web.write_text("tls_server_config: {cert_file: gone.pem, key_file: gone.key}\n")
    with pytest.raises(ConfigError) as refused:
        load_checked(file)
    assert str(refused.value).startswith(f"{file}:3: exporter.web_config_file: the exporter does not start with it: ")
    assert f"{web}:1: tls_server_config.cert_file" in str(refused.value)
    web.unlink()  # it may be on another machine
    assert [one.text(file) for one in load_checked(file).warnings] == [
        f"{file}:3: exporter.web_config_file: there is no file {web}; the exporter does not start without it"
    ]


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(WRONG)
    return file


def test_every_name_that_there_is_not_is_named_with_its_line(wrong: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_checked(wrong)
    assert str(error.value).replace(str(wrong), "FILE") == SAID


@pytest.mark.parametrize("command", [["check", "FILE"], ["render", "--config", "FILE", "--out", "OUT"]])
def test_nothing_is_rendered_from_such_a_file(command: list[str], wrong: Path) -> None:
    out = wrong.parent / "out"
    words = {"FILE": str(wrong), "OUT": str(out)}
    result = CliRunner().invoke(main, [words.get(word, word) for word in command])
    assert result.exit_code == 1
    assert "there is no alert DaskSchedulrDown; did you mean DaskSchedulerDown?" in result.stderr
    assert not out.exists()


def test_numbers_that_can_never_be_reached_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cluster-ai.yml"
    file.write_text(
        """\
targets:
  dask:
    - {name: main, scheduler: "tcp://127.0.0.1:8786"}
alerts:
  thresholds:
    dask_task_error_ratio: 5
    dask_oldest_task_seconds: -1
    dask_worker_memory_ratio: 0.96
    host_cpu_ratio: 1
  overrides:
    - target: main
      thresholds:
        dask_event_loop_seconds_critical: 0.4
"""
    )
    with pytest.raises(ConfigError) as error:
        load_checked(file)
    assert str(error.value).replace(str(file), "FILE").splitlines() == [
        (
            "FILE:6: alerts.thresholds.dask_task_error_ratio: 5 is a ratio, at most 1: write 0.8 for 80 %; "
            "docs/alerts.md has the defaults"
        ),
        (
            "FILE:7: alerts.thresholds.dask_oldest_task_seconds: -1 is below 0, which is always exceeded; "
            "docs/alerts.md has the defaults"
        ),
        (
            "FILE:8: alerts.thresholds.dask_worker_memory_ratio: 0.96 must be below dask_worker_memory_ratio_critical, "
            "which is 0.95; docs/alerts.md has the defaults"
        ),
        (
            "FILE:13: alerts.overrides[0].thresholds.dask_event_loop_seconds_critical: 0.4 must be above "
            "dask_event_loop_seconds, which is 0.5; docs/alerts.md has the defaults"
        ),
    ]


def test_a_program_for_backups_that_cannot_be_run_is_told_with_its_line(tmp_path: Path) -> None:
    file, program = tmp_path / "cluster-ai.yml", tmp_path / "carry"
    file.write_text(
        "targets: {ollama: [{name: a, url: 'http://a:1'}]}\n"
        "production:\n  domain: monitoring.example.org\n  backup:\n    off_site: carry\n"
    )

    def told() -> list[str]:
        return [one.text(file, "warning") for one in load_checked(file).warnings if "each backup" in one.text(file)]

    program.write_text("#!/bin/sh\n")
    [said] = told()
    assert said.startswith(f"{file}:5: warning: production.backup.off_site: {program} is no program that can be run")
    program.chmod(0o755)
    assert told() == []
    program.unlink()
    program.mkdir()
    assert len(told()) == 1


def test_the_example_is_right() -> None:
    load_checked(Path(__file__).parents[2] / "provisioning/example.yml")
