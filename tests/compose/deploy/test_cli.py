"""The commands, with a `docker` that writes down how it was called."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from compose.deploy import preparing
from tests.certificates import Authority
from tests.compose.deploy.playing import Docker, deploy
from tests.compose.installation import TARGETS


@pytest.mark.usefixtures("good_host")
def test_up_makes_everything_that_is_missing_and_starts_it(docker: Docker, file: Path) -> None:
    result = deploy(file, "up")
    assert result.exit_code == 0, result.output
    folder = file.parent
    assert (folder / "rendered/compose.yml").exists()
    assert stat.S_IMODE((folder / "secrets/postgres-password").stat().st_mode) == 0o600
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder / "data").iterdir()}
    assert modes.pop("textfile") == 0o755
    assert {"postgres", "redis", "prometheus", "alertmanager"} <= modes.keys()
    assert set(modes.values()) == {0o700}
    [started] = docker.asked(" up ")
    assert f"--env-file {folder}/rendered/compose.env" in started
    assert "docker-compose.prod.yml" in started
    assert started.endswith("up --detach --wait --wait-timeout 600 --remove-orphans")
    [applied] = docker.asked("grafana apply")
    assert "run --rm --no-TTY admin grafana apply" in applied


@pytest.mark.usefixtures("good_host", "docker")
def test_a_second_time_makes_nothing(file: Path) -> None:
    assert "made " in deploy(file, "up").output
    again = deploy(file, "up").output
    assert "made " not in again
    assert "nothing to render" in again


@pytest.mark.usefixtures("good_host")
def test_what_does_not_become_healthy_is_said(docker: Docker, file: Path) -> None:
    docker.will(status=1)
    result = deploy(file, "up")
    assert result.exit_code == 1
    assert "not all is well: " in result.output
    assert not docker.asked("grafana apply")


def test_the_stack_of_those_who_change_it_has_no_door(docker: Docker, file: Path, good_host: None) -> None:
    file.write_text(TARGETS)
    assert deploy(file, "up").exit_code == 0
    [started] = docker.asked(" up ")
    assert "docker-compose.dev.yml" in started
    assert (file.parent / "secrets/grafana-admin-password").exists()
    assert not (file.parent / "data/postgres").exists()
    assert not docker.asked("grafana apply")


@pytest.mark.parametrize(
    ("containers", "code"),
    [
        ([("nginx", "running", "healthy"), ("redis", "running", "healthy")], 0),
        ([("nginx", "running", "healthy"), ("redis", "running", "unhealthy")], 1),
        ([("nginx", "running", "starting")], 1),
        ([("nginx", "exited", "")], 1),
        ([], 3),
    ],
)
def test_status_says_whether_all_is_well(
    containers: list[tuple[str, str, str]], code: int, docker: Docker, rendered: Path
) -> None:
    docker.runs(*containers)
    result = deploy(rendered, "status")
    assert result.exit_code == code
    for name, state, health in containers:
        assert f"{name:<20}{state:<12}{health}\n" in result.output


def test_down_removes_what_any_profile_started(docker: Docker, rendered: Path) -> None:
    assert deploy(rendered, "down").exit_code == 0
    [stopped] = docker.asked(" down ")
    assert stopped.endswith("--profile * down --remove-orphans")


def test_compose_is_called_with_the_files_of_the_installation(docker: Docker, rendered: Path) -> None:
    docker.will(status=7)
    assert deploy(rendered, "compose", "logs", "--tail", "5", "nginx").exit_code == 7
    [called] = docker.asked("logs")
    assert called.endswith(f"--file {rendered.parent}/rendered/compose.yml logs --tail 5 nginx")


@pytest.mark.parametrize(("words", "code"), [("status", 3), ("down", 1), ("compose ps", 1)])
def test_before_the_first_up_there_is_nothing_to_ask_about(words: str, code: int, docker: Docker, file: Path) -> None:
    result = deploy(file, *words.split())
    assert result.exit_code == code
    assert re.fullmatch(r"nothing is rendered; `\S*cluster-ai deploy up` does that, and starts it\n", result.output)
    assert not docker.asked("compose")


@pytest.mark.usefixtures("good_host")
def test_what_certbot_told_goes_with_it(docker: Docker, file: Path) -> None:
    assert deploy(file, "up").exit_code == 0
    assert not docker.asked(" rm --stop ")
    told = file.parent / "data/textfile/cluster-ai-certificate.prom"
    told.write_text("cluster_ai_certificate_renewal_success 0\n")
    without = file.read_text()
    file.write_text(f"{without}  certificate: {{acme: {{email: ops@example.org}}}}\n")
    assert deploy(file, "up").exit_code == 0
    assert told.exists()
    file.write_text(without)
    assert f"removed {told}\n" in deploy(file, "up").output
    assert not told.exists()
    [ended] = docker.asked(" rm --stop ")
    assert ended.endswith("--profile acme rm --stop --force certbot")
    calls = docker.asked("compose")
    assert " up " in "".join(calls[calls.index(ended) :])


def test_without_docker_each_command_says_so(rendered: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("status", "down"):
        result = deploy(rendered, name)
        assert result.exit_code == 1
        assert "docker" in result.output
        assert "Traceback" not in result.output


@pytest.mark.usefixtures("good_host", "docker")
def test_ones_own_certificate_is_taken_when_it_is_good(file: Path) -> None:
    authority = Authority("somebody")
    authority.write_pair(file.parent, name="monitoring.example.org")
    file.write_text(f"{file.read_text()}  certificate: {{cert_file: cert.pem, key_file: key.pem}}\n")
    assert preparing.facts(preparing.host(file)).certificate == ""
    assert deploy(file, "up").exit_code == 0
    taken = file.parent / "data/certificates/fullchain.pem"
    assert taken.read_text() == (file.parent / "cert.pem").read_text()
    authority.write_pair(file.parent, name="elsewhere.example.org")
    result = deploy(file, "up")
    assert result.exit_code == 1
    assert "is not for monitoring.example.org" in result.output
    assert "is not for monitoring.example.org" in preparing.facts(preparing.host(file)).certificate


@pytest.mark.usefixtures("good_host", "docker")
def test_without_one_an_authority_of_this_host_makes_it(file: Path) -> None:
    assert "have people's browsers trust it" in deploy(file, "up").output
    assert (file.parent / "data/certificates/fullchain.pem").exists()
    assert "have people's" not in deploy(file, "up").output


@pytest.mark.usefixtures("good_host")
def test_restore_brings_files_before_the_database_and_both_before_the_rest(docker: Docker, file: Path) -> None:
    for name in ("saved.age", "key"):
        (file.parent / name).write_text("")
    folder = file.parent
    result = deploy(file, "restore", str(folder / "saved.age"), "--identity", str(folder / "key"), "--overwrite")
    assert result.exit_code == 0, result.output
    steps = [line for line in docker.asked("compose") if " run " in line or " up " in line]
    assert len(steps) == 5
    restored = f"admin backup restore {folder}/saved.age --config {file} --identity {folder}/key --overwrite --only"
    assert steps[0].endswith(f"{restored} files")
    assert "rendered" not in steps[0]  # it may not be there yet
    assert f"--volume {folder}/key:{folder}/key:ro" in steps[0]
    assert steps[1].endswith("up --detach --wait postgres")
    assert steps[2].endswith(f"{restored} database")
    assert "--remove-orphans" in steps[3]
    assert "grafana apply" in steps[4]


def test_a_backup_that_cannot_be_restored_ends_it(docker: Docker, file: Path) -> None:
    (file.parent / "saved.age").write_text("")
    docker.will(status=1)
    result = deploy(file, "restore", str(file.parent / "saved.age"))
    assert result.exit_code == 1
    assert "nothing more is done: `backup restore` did not end well" in result.output
    assert not docker.asked(" up ")


def test_a_backup_that_is_not_there_is_said(file: Path) -> None:
    result = deploy(file, "restore", str(file.parent / "nothing.age"))
    assert result.exit_code == 1
    assert f"there is no {file.parent}/nothing.age" in result.output


def test_a_bad_file_is_said_with_its_line(file: Path) -> None:
    file.write_text("targets: {}\nproduction: {domian: x}\n")
    result = deploy(file, "check")
    assert result.exit_code == 1
    assert f"{file}:2: " in result.output


def test_a_folder_that_cannot_be_made_is_said(file: Path) -> None:
    (file.parent / "data").write_text("in the way")
    with pytest.raises(preparing.PrepareError, match=r"cannot make .*data"):
        list(preparing.prepare(preparing.host(file)))
