"""`deploy check`, and `deploy up` where it finds something."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from compose.deploy import cli, preparing
from compose.deploy.findings import Finding
from tests.compose.deploy.playing import Docker, deploy


def test_nothing_starts_on_a_host_that_is_not_safe(docker: Docker, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, minor = Finding("bad", "this is bad", "mend it"), Finding("minor", "this is not", "look", fatal=False)
    monkeypatch.setattr(cli, "findings", lambda *_: [bad, minor])
    for name in ("check", "up"):
        result = deploy(file, name)
        assert result.exit_code == 1
        assert "error: bad: this is bad; mend it\n" in result.output
        assert "warning: minor: this is not; look\n" in result.output
    assert not docker.asked(" up ")


@pytest.mark.usefixtures("docker")
def test_warnings_keep_nothing_from_starting(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "findings", lambda *_: [Finding("minor", "this is not", "look", fatal=False)])
    result = deploy(file, "check")
    assert result.exit_code == 0
    assert "nothing on this host keeps the stack from starting" in result.output


def test_check_finds_what_is_missing_before_the_first_start(docker: Docker, file: Path) -> None:
    docker.will(info=json.dumps({"ServerErrors": ["Cannot connect to the Docker daemon"]}))
    (file.parent / "ours/token").unlink()
    result = deploy(file, "check")
    assert result.exit_code == 1
    assert "error: docker-stopped: Cannot connect to the Docker daemon; systemctl enable --now docker" in result.output
    assert re.search(
        r"^warning: secrets-missing: \d+ are not there yet; `deploy up` makes them$", result.output, re.MULTILINE
    )
    assert f"error: file-missing: {file.parent}/ours/token cannot be read" in result.output
    assert not (file.parent / "secrets").exists()


def test_check_says_which_secret_is_bad(docker: Docker, file: Path, good_host: None) -> None:
    assert deploy(file, "up").exit_code == 0
    (file.parent / "secrets/postgres-password").write_text("postgres")
    (file.parent / "secrets/redis-users.acl").unlink()
    seen = preparing.facts(preparing.host(file))
    assert [name for name, _ in seen.secrets] == ["postgres-password"]
    assert seen.unmade == 1


def test_check_tells_a_rotation_that_was_interrupted_from_a_secret_that_is_not_there(
    docker: Docker, file: Path, good_host: None
) -> None:
    assert deploy(file, "up").exit_code == 0
    (file.parent / "secrets/grafana-database-password.next").write_text("x" * 24)
    seen = preparing.facts(preparing.host(file))
    assert (seen.interrupted, seen.unmade, seen.secrets) == (("grafana-database-password",), 0, ())


def test_check_finds_a_program_for_backups_that_cannot_be_run(docker: Docker, file: Path) -> None:
    program = file.parent / "carry"
    program.write_text("#!/bin/sh\n")
    file.write_text(f"{file.read_text()}  backup: {{off_site: carry}}\n")
    result = deploy(file, "check")
    assert result.exit_code == 1
    assert f"error: off-site-bad: {program} is no program" in result.output
    program.chmod(0o755)
    assert "off-site-bad" not in deploy(file, "check").output
