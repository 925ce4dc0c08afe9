"""The exporter's own TLS and password: what Prometheus is given, and where the two sides disagree."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioning.config.load import ConfigError, load, load_with_warnings
from provisioning.render import Places, render
from tests.certificates import Authority
from tests.tools import tool

PLACES = Places(data=Path("/d"), secrets=Path("/s"), alertmanager=False, node_exporter=False, grafana=False)
HASH = "$2a$04$tGCJsUBe68WESJl1l3LHludGNmemElUKTTNeQ.gmo1gZUPGpFvzga"  # of what `written` puts into the password's file
TLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"
USERS = f'basic_auth_users: {{prometheus: "{HASH}"}}\n'
LOGIN = {"username": "prometheus", "password_file": "password"}


def written(folder: Path, exporter: dict[str, str], web: str = "", **dask: str) -> Path:
    (folder / "web.yml").write_text(web)
    (folder / "password").write_text("word\n")
    (folder / "password").chmod(0o600)
    target = {"name": "main", "scheduler": "tcp://127.0.0.1:8786", **dask}
    file = folder / "cluster-ai.yml"
    file.write_text(yaml.safe_dump({"targets": {"dask": [target]}, "exporter": exporter}))
    return file


def jobs(folder: Path, file: Path) -> dict[str, dict[str, Any]]:
    render(load(file), folder / "out", places=PLACES)
    found = yaml.safe_load((folder / "out/prometheus.yml").read_text())["scrape_configs"]
    return {job["job_name"]: job for job in found}


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    """Certificates beside the file, and the keys that name them."""
    authority = Authority("exporter")
    authority.write_ca(tmp_path)
    authority.write_pair(tmp_path)
    return {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem", "server_name": "localhost"}


def test_the_exporters_own_jobs_get_in_and_no_other_carries_credentials(tmp_path: Path, pair: dict[str, str]) -> None:
    found = jobs(tmp_path, written(tmp_path, pair | LOGIN, native="filtered"))
    access = {
        "tls_config": {
            "ca_file": str(tmp_path / "ca.pem"),
            "cert_file": str(tmp_path / "cert.pem"),
            "key_file": str(tmp_path / "key.pem"),
            "server_name": "localhost",
        },
        "basic_auth": {"username": "prometheus", "password_file": str(tmp_path / "password")},
    }
    for name in ("exporter", "probe", "filtered"):
        assert found[name]["scheme"] == "https"
        assert found[name] == found[name] | access, name
    for name in ("probe", "native", "filtered"):
        [discovery] = found[name]["http_sd_configs"]
        assert discovery == {"url": f"https://127.0.0.1:9860/sd?kind={name}", "refresh_interval": "5s"} | access
    # What the clusters name is asked without anything of ours.
    for name in set(found) - {"exporter", "probe", "filtered"}:
        assert not {"tls_config", "basic_auth", "scheme"} & found[name].keys(), name
    assert found["filtered"]["relabel_configs"] == [{"target_label": "job", "replacement": "native"}]
    assert "word" not in (tmp_path / "out/prometheus.yml").read_text().replace("password", "")
    checked = subprocess.run(
        [tool("promtool"), "check", "config", str(tmp_path / "out/prometheus.yml")], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_direct_scheduler_needs_no_filtered_job(tmp_path: Path) -> None:
    assert "filtered" not in jobs(tmp_path, written(tmp_path, {}, native="direct"))


@pytest.mark.parametrize(
    ("exporter", "said"),
    [
        ({"username": "a"}, "username and password_file go together"),
        ({"server_name": "a"}, "give ca_file too"),
        ({"cert_file": "cert.pem", "key_file": "key.pem"}, "give ca_file too"),
        ({"ca_file": "ca.pem", "cert_file": "cert.pem"}, "cert_file and key_file go together"),
    ],
)
def test_half_an_access_is_an_error(tmp_path: Path, exporter: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(written(tmp_path, exporter))


@pytest.mark.parametrize(
    ("web", "exporter", "said"),
    [
        (TLS, {}, "add exporter.ca_file"),
        ("", {"ca_file": "ca.pem"}, ""),  # an empty file is told of as one
        (USERS, {"ca_file": "ca.pem"} | LOGIN, "does not speak TLS"),
        (USERS, {}, "Prometheus has none"),
        (USERS, LOGIN | {"username": "other"}, 'the exporter has no user "other"'),
        (USERS, LOGIN, ""),
        (USERS.replace(HASH, f"{HASH[:-1]}."), LOGIN, "is of another password than password_file holds"),
        (USERS.replace(HASH, HASH.replace("$04$", "$16$")), LOGIN, ""),  # trying it would take seconds
        (USERS.replace(HASH, "plain"), LOGIN, ""),  # refused by the exporter, which is told elsewhere
        (
            TLS.replace("}", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}"),
            {"ca_file": "ca.pem"},
            "wants a client certificate",
        ),
        ("[not, a, map]", {}, ""),
        ("tls_server_config: [1]\nbasic_auth_users: 7\n", {"ca_file": "ca.pem"}, ""),
    ],
)
@pytest.mark.usefixtures("pair")
def test_check_says_what_would_keep_prometheus_out(
    tmp_path: Path, web: str, exporter: dict[str, str], said: str
) -> None:
    file = written(tmp_path, {"web_config_file": "web.yml"} | exporter, web)
    told = [one.text(file) for one in load_with_warnings(file).warnings if "web_config_file: the " in one.text(file)
            or "ca_file is given" in one.text(file)]  # fmt: skip
    assert len(told) == bool(said)
    assert not said or said in told[0]
