from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioning.cli import main
from provisioning.secrets.installation import installation
from provisioning.secrets.looking import look
from provisioning.secrets.making import SecretsError, init, recipients
from provisioning.secrets.names import DERIVED, KEYS, OPERATOR_KEY, SECRETS
from tests.provisioning.secrets.installed import OPERATORS, installed, secret, write

EVERY = {*(one.name for one in SECRETS), *KEYS, *DERIVED}


def states(there) -> dict[str, str]:
    return {row.name: row.problem for row in look(there) if row.problem}


def test_everything_is_made_for_the_owner_alone_and_nothing_twice(tmp_path: Path) -> None:
    there = installation(write(tmp_path, f"backup: {{recipient: {OPERATORS}}}"))
    made = init(there)
    assert {path.name for path in made} == {path.name for path in there.secrets.iterdir()} == EVERY
    assert {stat.S_IMODE(path.stat().st_mode) for path in there.secrets.iterdir()} == {0o600}
    assert stat.S_IMODE(there.secrets.stat().st_mode) == 0o700
    before = {path.name: path.read_bytes() for path in there.secrets.iterdir()}
    assert init(there) == []
    assert {path.name: path.read_bytes() for path in there.secrets.iterdir()} == before
    values = [before[one.name] for one in SECRETS]
    assert len(set(values)) == len(values)
    assert not states(there)


def test_nothing_that_is_made_is_shown(tmp_path: Path) -> None:
    file = write(tmp_path)
    for command in ("init", "list", "init"):
        done = CliRunner().invoke(main, ["secrets", command, "--config", str(file)])
        assert done.exit_code == 0, done.output
        for path in (tmp_path / "secrets").iterdir():
            for line in path.read_text().splitlines():
                if path.name != "backup-recipients" and not line.startswith(("# public key", "user default")):
                    assert line not in done.output
    assert "Grafana's administrator" not in done.output  # said once, when the password was made


def test_what_is_made_is_what_programs_read(tmp_path: Path) -> None:
    there = installed(tmp_path, redis="10.1.2.3:6379")
    grafana, bridge = secret(there, "redis-grafana-password"), secret(there, "redis-bridge-password")
    assert secret(there, "grafana-redis-connection") == (
        f"addr=10.1.2.3:6379,pool_size=20,db=0,username=grafana,password={grafana},ssl=false"
    )
    assert secret(there, "redis-bridge-url") == f"redis://bridge:{bridge}@10.1.2.3:6379/0"
    assert json.loads(secret(there, "redis-exporter-passwords")) == {
        f"redis://{name}10.1.2.3:6379": secret(there, "redis-exporter-password") for name in ("", "monitoring@")
    }
    acl = secret(there, "redis-users.acl").splitlines()
    assert [line.split()[1] for line in acl] == ["default", "grafana", "monitoring", "bridge", "admin"]
    assert acl[0].startswith("user default off ")
    for password in (grafana, bridge):
        assert password not in "\n".join(acl)


def test_only_several_grafanas_need_a_user_without_a_name(tmp_path: Path) -> None:
    there = installed(tmp_path, "grafanas: 2")
    first = secret(there, "redis-users.acl").splitlines()[0]
    assert first.startswith("user default on #")
    rights = first.split()
    assert {"~gf_live*", "&gf_live*", "%W~{cluster-ai-sms}:*"} < set(rights)
    assert not {"~*", "&*", "+@all", "nopass"} & set(rights)


def test_the_operators_key_of_the_file_is_used_and_none_is_made(tmp_path: Path) -> None:
    there = installed(tmp_path, f"backup: {{recipient: {OPERATORS}}}")
    assert recipients(there)[1] == OPERATORS
    assert not (there.secrets / OPERATOR_KEY).exists()
    assert "backup-operator-key" not in states(there)


def test_the_operators_key_may_leave_and_another_may_come(tmp_path: Path) -> None:
    there = installed(tmp_path)
    host, first = recipients(there)
    assert secret(there, OPERATOR_KEY).startswith(f"# public key: {first}\nAGE-SECRET-KEY-1")
    (there.secrets / OPERATOR_KEY).unlink()
    assert init(there) == []
    assert recipients(there) == [host, first]
    again = installed(tmp_path, f"backup: {{recipient: {OPERATORS}}}")
    assert recipients(again) == [host, OPERATORS]


def test_an_interrupted_start_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path)
    there = installation(file)
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 8:
            raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(SecretsError, match=r"cannot make secrets in .*: No space left on device"):
            init(there)
    kept = {path.name: path.read_bytes() for path in there.secrets.iterdir()}
    assert len(kept) == 8
    init(there)
    assert not states(there)
    assert {name: (there.secrets / name).read_bytes() for name in kept} == kept


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("changeme"), "weak: it has fewer than 24 characters"),
        (lambda path: path.write_text("a" * 64), "weak: it has fewer than 10 different characters"),
        (lambda path: path.write_text("pass,word=x@" * 5), "weak: it has signs that not every program takes as they"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.chmod(0o640), "mode 0640, so others may have read it: chmod 600, then rotate it"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said(break_it, said: str, tmp_path: Path) -> None:
    there = installed(tmp_path)
    break_it(there.secrets / "postgres-password")
    found = states(there)
    assert list(found) == ["postgres-password"]
    assert found["postgres-password"].startswith(said)
    done = CliRunner().invoke(main, ["secrets", "list", "--config", str(there.file)])
    assert done.exit_code == 1
    assert said in done.output


def test_a_password_changed_by_hand_shows_where_it_did_not_arrive(tmp_path: Path) -> None:
    there = installed(tmp_path)
    (there.secrets / "redis-bridge-password").write_text(secret(there, "redis-grafana-password"))
    assert set(states(there)) == {"redis-users.acl", "redis-bridge-url"}
    assert {path.name for path in init(there)} == {"redis-users.acl", "redis-bridge-url"}
    assert not states(there)


def test_a_folder_that_others_may_read_is_said_and_closed(tmp_path: Path) -> None:
    there = installed(tmp_path)
    there.secrets.chmod(0o755)
    done = CliRunner().invoke(main, ["secrets", "list", "--config", str(there.file)])
    assert (done.exit_code, "is open to others" in done.output) == (1, True)
    init(there)
    assert stat.S_IMODE(there.secrets.stat().st_mode) == 0o700


def test_a_laptops_file_has_none_of_this(tmp_path: Path) -> None:
    (tmp_path / "cluster-ai.yml").write_text("targets: {}\n")
    done = CliRunner().invoke(main, ["secrets", "init", "--config", str(tmp_path / "cluster-ai.yml")])
    assert (done.exit_code, "has no `production`" in done.output) == (1, True)
    assert not (tmp_path / "secrets").exists()
