"""What needs no server: refusals, keys, and what an interrupted or impossible rotation leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from provisioning.cli import main
from provisioning.secrets.age_key import recipient
from provisioning.secrets.installation import Installation
from provisioning.secrets.looking import look
from provisioning.secrets.making import SecretsError, init, recipients
from provisioning.secrets.names import IDENTITY, OPERATOR_KEY, RECIPIENTS
from provisioning.secrets.rotating import rotate
from tests.provisioning.secrets.installed import OPERATORS, installed, secret

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def there(tmp_path: Path) -> Installation:
    return installed(tmp_path, postgres="127.0.0.1:9", redis="127.0.0.1:9")


def everything(there: Installation) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in there.secrets.iterdir()}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grafana-secret-key", r"could no longer read .*/rotate-data-keys and .*/reencrypt-secrets"),
        ("redis-users.acl", "made from other secrets"),
        ("backup-operator-key", "there is no secret"),
        ("../../etc/passwd", "there is no secret"),
        ("backup-recipients", "is still here; take it away first"),
    ],
)
def test_what_is_refused_changes_nothing(name: str, said: str, there: Installation) -> None:
    before = everything(there)
    with pytest.raises(SecretsError, match=said):
        rotate(there, name, grafana=NOWHERE)
    assert everything(there) == before


def test_only_passwords_of_redis_have_a_time_of_two(there: Installation) -> None:
    with pytest.raises(SecretsError, match="has no time in which two of it are taken"):
        rotate(there, "postgres-password", grafana=NOWHERE, finish=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grafana-database-password", "Connection refused"),
        ("postgres-password", "Connection refused"),
        ("grafana-admin-password", "does not answer"),
    ],
)
def test_who_is_away_is_said_and_the_next_run_goes_on_where_it_was(
    name: str, said: str, there: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psql").write_text(
        "#!/bin/sh\necho 'psql: error: connection to server failed: Connection refused' >&2; exit 2\n"
    )
    (tmp_path / "psql").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    before = secret(there, name)
    options = ["--config", str(there.file), "--postgres", "127.0.0.1:9", "--grafana", NOWHERE]
    done = CliRunner().invoke(main, ["secrets", "rotate", name, *options])
    assert (done.exit_code, len(done.output.splitlines())) == (1, 1)
    assert said in done.output
    assert secret(there, name) == before
    coming = secret(there, f"{name}.next")
    assert coming not in done.output
    assert [row.problem for row in look(there) if row.problem] == [f"a rotation was interrupted: secrets rotate {name}"]
    with pytest.raises(SecretsError):
        rotate(there, name, grafana=NOWHERE)
    assert secret(there, f"{name}.next") == coming


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("redis-bridge-password", "it needs the redis library"),
        ("redis-admin-password", "it needs the redis library"),
        ("redis-bridge-password --finish", "it needs the redis library"),
        ("grafana-database-password", "psql is not on PATH"),
        ("postgres-password", "psql is not on PATH"),
    ],
)
def test_where_nobody_could_be_told_nothing_is_half_done(
    words: str, said: str, there: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, finish = words.partition(" ")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redis", None)
    (there.secrets / f"{name}.previous").write_text("what-Redis-still-takes-beside-the-new-one")
    before = everything(there)
    with pytest.raises(SecretsError, match=rf"nothing was changed: {said}") as refused:
        rotate(there, name, grafana=NOWHERE, finish=bool(finish))
    assert everything(there) == before
    assert str(refused.value).endswith(f"deploy compose run --rm admin secrets rotate {words}")


def test_redis_that_is_away_learns_it_at_its_next_start(there: Installation) -> None:
    """It reads its users then: what it is told of and what those who ask it read is one and the same."""
    before = secret(there, "redis-bridge-password")
    with pytest.raises(SecretsError, match=r"Redis at 127.0.0.1:9"):
        rotate(there, "redis-bridge-password", grafana=NOWHERE)
    after = secret(there, "redis-bridge-password")
    assert after != before
    assert after in secret(there, "redis-bridge-url")
    bridge = next(line for line in secret(there, "redis-users.acl").splitlines() if line.startswith("user bridge "))
    assert bridge.count(" #") == 2
    assert init(there) == []


def test_a_container_sees_the_new_token_in_the_file_it_was_given(there: Installation) -> None:
    path = there.secrets / "sms-bridge-token"
    with path.open() as given:
        old = given.read()
        assert rotate(there, path.name, grafana=NOWHERE) == []
        given.seek(0)
        assert given.read() == path.read_text() != old
    assert path.stat().st_mode & 0o777 == 0o600


def test_this_hosts_key_opens_old_backups_and_new_ones(there: Installation) -> None:
    host, operator = recipients(there)
    old = secret(there, IDENTITY)
    rotate(there, IDENTITY, grafana=NOWHERE)
    new = secret(there, IDENTITY)
    assert new.endswith(old)
    assert recipients(there) == [recipient(new, "x"), operator]
    assert recipients(there)[0] != host
    assert init(there) == []


def test_the_operators_next_key(there: Installation, tmp_path: Path) -> None:
    host, operator = recipients(there)
    (there.secrets / OPERATOR_KEY).unlink()
    [said] = rotate(there, RECIPIENTS, grafana=NOWHERE)
    assert str(there.secrets / OPERATOR_KEY) in said
    assert recipients(there) == [host, recipient(secret(there, OPERATOR_KEY), "x")]
    assert recipients(there)[1] != operator
    named = installed(tmp_path, f"backup: {{recipient: {OPERATORS}}}")
    with pytest.raises(SecretsError, match=r"yours is `production.backup.recipient` of .*cluster-ai.yml"):
        rotate(named, RECIPIENTS, grafana=NOWHERE)
