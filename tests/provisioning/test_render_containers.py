"""Each container is given its own files, and no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from compose.certificates.placing import AUTHORITY_KEY
from provisioning.cli import main
from provisioning.config.load import load
from provisioning.render import render
from provisioning.render.production_places import in_containers
from provisioning.secrets.names import NEXT, OPERATOR_KEY, PREVIOUS
from tests.compose.audit import problems
from tests.compose.installation import EVERYTHING, PRODUCTION, TARGETS, installed, stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return installed(tmp_path / "host")


def overlay(folder: Path) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((folder / "rendered/compose.yml").read_text())["services"]
    return services


def given(folder: Path) -> dict[str, set[str]]:
    """What each service sees, relative to the installation."""
    seen = {}
    for name, service in overlay(folder).items():
        for volume in service["volumes"]:
            assert volume["source"] == volume["target"]
            assert volume["read_only"] is True
        seen[name] = {str(Path(volume["source"]).relative_to(folder)) for volume in service["volumes"]}
    return seen


def again(folder: Path) -> dict[str, str]:
    """What marks each service once the files were rendered again."""
    config, places = in_containers(load(folder / "cluster-ai.yml"), folder)
    render(config, folder / "rendered", places=places)
    return {name: service["labels"]["cluster-ai.files"] for name, service in overlay(folder).items()}


def test_each_service_sees_what_it_reads(folder: Path) -> None:
    grafana = {
        "rendered/grafana/grafana.ini",
        "rendered/grafana/provisioning",
        "rendered/grafana/pages",
        "secrets/grafana-admin-password",
        "secrets/grafana-secret-key",
    }
    seen = given(folder)
    assert seen["exporter"] == {"cluster-ai.yml", "ours/token"}
    assert seen["ollama-proxy"] == {"cluster-ai.yml", "ours/token"}
    assert seen["sms-bridge"] == {
        "cluster-ai.yml",
        "ours/mail-password",
        "ours/twilio-secret",
        "secrets/sms-bridge-token",
        "secrets/redis-bridge-url",
    }
    assert seen["prometheus"] == {"rendered/prometheus.yml", "rendered/rules"}
    assert seen["alertmanager"] == {
        "rendered/alertmanager.yml",
        "rendered/alertmanager",
        "ours/mail-password",
        "secrets/sms-bridge-token",
    }
    assert seen["redis"] == {"rendered/redis", "secrets/redis-users.acl"}
    assert seen["nginx"] == {"rendered/nginx"}
    for number in (1, 2, 3):
        assert seen[f"grafana-{number}"] >= grafana


def test_nobody_but_the_backup_sees_a_secret_of_somebody_else(folder: Path) -> None:
    readers: dict[str, set[str]] = {}
    for name, files in given(folder).items():
        for file in files:
            readers.setdefault(file, set()).add(name)
    assert "secrets" not in readers
    assert readers["secrets/postgres-password"] == {"postgres", "backup"}
    assert readers["secrets/redis-exporter-passwords"] == {"redis-exporter", "backup"}
    assert readers["secrets/backup-identity"] == {"backup"}
    assert readers["secrets/redis-admin-password"] == {"backup"}


def test_the_backup_sees_what_it_saves_and_no_key_that_is_none_of_its_business(folder: Path) -> None:
    secrets = folder / "secrets"
    for name in (AUTHORITY_KEY, "store-token", f"postgres-password{NEXT}", f"redis-bridge-password{PREVIOUS}"):
        (secrets / name).write_text("a-key-of-some-length-and-letters")
    assert (secrets / OPERATOR_KEY).exists()
    before = again(folder)
    seen = {Path(name).name for name in given(folder)["backup"] if name.startswith("secrets/")}
    passing = {f"postgres-password{NEXT}", f"redis-bridge-password{PREVIOUS}"}
    assert seen == {path.name for path in secrets.iterdir()} - {OPERATOR_KEY, AUTHORITY_KEY} - passing
    (secrets / "store-token").write_text("overwritten-where-it-is-seen")
    assert again(folder)["backup"] == before["backup"]
    (secrets / "another").write_text("which-the-container-does-not-see-so-far")
    (secrets / "another").replace(secrets / "store-token")
    assert again(folder)["backup"] != before["backup"]


def test_a_name_that_begins_like_another_is_not_given_too(tmp_path: Path) -> None:
    text = EVERYTHING.replace("ours/twilio-secret", "ours/mail-pass")
    folder = tmp_path / "host"
    (folder / "ours").mkdir(parents=True)
    (folder / "ours/mail-pass").write_text("a-secret-of-the-operator")
    assert "ours/mail-pass" not in given(installed(folder, text))["alertmanager"]


def test_certificates_of_the_exporters_web_configuration_go_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "host"
    (folder / "tls").mkdir(parents=True)
    for name in ("cert.pem", "key.pem"):
        (folder / "tls" / name).write_text("")
    (folder / "web.yml").write_text("tls_server_config: {cert_file: tls/cert.pem, key_file: tls/key.pem}\n")
    installed(folder)
    (folder / "cluster-ai.yml").write_text(EVERYTHING + "exporter: {web_config_file: web.yml}\n")
    config, places = in_containers(load(folder / "cluster-ai.yml"), folder)
    render(config, folder / "rendered", places=places)
    assert given(folder)["exporter"] == {"cluster-ai.yml", "ours/token", "web.yml", "tls/cert.pem", "tls/key.pem"}


def test_what_is_not_there_is_left_out(folder: Path) -> None:
    (folder / "ours/token").unlink()
    result = CliRunner().invoke(main, ["render", "--for", "containers", "--config", str(folder / "cluster-ai.yml")])
    assert result.exit_code == 0
    assert given(folder)["exporter"] == {"cluster-ai.yml"}


def test_the_mark_of_a_service_changes_with_its_files_and_with_no_others(folder: Path) -> None:
    before = again(folder)
    assert again(folder) == before
    secret = folder / "secrets/redis-exporter-passwords"
    os.utime(secret, ns=(1, 1))
    after = again(folder)
    assert {name for name in before if before[name] != after[name]} == {"redis-exporter"}
    text = (folder / "cluster-ai.yml").read_text()
    (folder / "cluster-ai.yml").write_text(text.replace("grafanas: 3", "grafanas: 3\nretention: {size: 9GB}"))
    changed = again(folder)
    # Those who read the file itself; Prometheus is told by a variable.
    assert {name for name in after if after[name] != changed[name]} == {
        "backup",
        "exporter",
        "ollama-proxy",
        "sms-bridge",
    }
    assert "CLUSTER_AI_RETENTION_SIZE=9GB\n" in (folder / "rendered/compose.env").read_text()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (EVERYTHING, "sms,proxy,grafana-2,grafana-3"),
        (TARGETS, "proxy"),
        (TARGETS + PRODUCTION + "  gpu: true\n", "proxy,gpu"),
        (TARGETS + PRODUCTION + "  logs: true\n", "proxy,logs"),
        (TARGETS + PRODUCTION + "  certificate: {acme: {email: ops@example.org}}\n", "proxy,acme"),
    ],
)
def test_what_is_optional_runs_when_it_is_asked_for(text: str, wanted: str, tmp_path: Path) -> None:
    folder = installed(tmp_path / "host", text)
    assert f"COMPOSE_PROFILES={wanted}\n" in (folder / "rendered/compose.env").read_text()


def test_with_logs_every_other_container_speaks_to_alloy(tmp_path: Path) -> None:
    folder = installed(tmp_path / "host", EVERYTHING + "  logs: true\n")
    services = overlay(folder)
    told = {name: service["logging"]["options"] for name, service in services.items() if "logging" in service}
    assert services.keys() - told.keys() == {"loki", "alloy"}
    assert {options["fluentd-address"] for options in told.values()} == {f"unix://{folder}/data/alloy/containers.sock"}
    assert all(name == options["tag"] for name, options in told.items())
    assert problems(stack(folder), folder) == []


def test_a_way_out_is_for_those_who_need_one(tmp_path: Path) -> None:
    oidc = """\
grafana:
  oidc:
    client_id: monitoring
    client_secret_file: ours/token
    auth_url: https://login.example.org/authorize
    token_url: https://login.example.org/token
    userinfo_url: https://login.example.org/userinfo
    roles: {claim: groups, admin: [admins]}
"""
    carry = "  backup: {off_site: ours/token}\n"
    for more, wanted in (("", set()), (oidc, {"grafana-1", "grafana-2", "grafana-3"}), (carry, {"backup"})):
        folder = installed(tmp_path / f"host{len(wanted)}", EVERYTHING + more)
        services = stack(folder)["services"]
        out = {name for name, service in services.items() if "out" in service.get("networks", ())}
        assert out - {"alertmanager", "sms-bridge", "certbot", "blackbox"} == wanted
        assert "data" in services["backup"]["networks"]


def test_the_owner_of_the_folder_is_who_everything_runs_as(folder: Path) -> None:
    found = folder.stat()
    text = (folder / "rendered/compose.env").read_text()
    assert f"CLUSTER_AI_UID={found.st_uid}\nCLUSTER_AI_GID={found.st_gid}\n" in text


@pytest.mark.parametrize("name", ["a folder", "a$HOME", "a:b", "a'b"])
def test_a_path_that_compose_would_read_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "cluster-ai.yml").write_text(TARGETS)
    result = CliRunner().invoke(main, ["render", "--for", "containers", "--config", str(folder / "cluster-ai.yml")])
    assert result.exit_code == 1
    assert "cannot hold an installation" in result.output or "choose another folder" in result.output
    assert not (folder / "rendered").exists()


@pytest.mark.parametrize("option", ["--out", "--data-dir", "--secrets-dir"])
def test_an_installation_says_itself_where_everything_is(option: str, folder: Path) -> None:
    arguments = ["render", "--for", "containers", "--config", str(folder / "cluster-ai.yml"), option, str(folder)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert f"{option} has no meaning with --for containers" in result.output


def test_no_secret_is_rendered(folder: Path) -> None:
    values = [path.read_text().strip() for path in [*(folder / "secrets").iterdir(), *(folder / "ours").iterdir()]]
    for path in (folder / "rendered").rglob("*"):
        if path.is_file():
            assert not [value for value in values if value in path.read_text()], path
