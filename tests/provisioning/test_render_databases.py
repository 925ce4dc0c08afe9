from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from provisioning.render import RenderError, render
from provisioning.render.postgres import GRAFANA_CONNECTIONS
from tests.provisioning.secrets.installed import installed, secret


def settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = '?(.*?)'?$", text, re.MULTILINE))


def rendered(folder: Path, *lines: str) -> Path:
    there = installed(folder, *lines)
    render(there.config, folder / "rendered", places=there.places)
    return folder / "rendered"


def test_nobody_gets_into_postgresql_without_a_password(tmp_path: Path) -> None:
    text = (rendered(tmp_path) / "postgres/pg_hba.conf").read_text()
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert {row[-1] for row in rows} == {"scram-sha-256"}
    assert {(row[2], row[1]) for row in rows if row[0] == "host"} == {
        ("postgres", "all"),
        ("grafana", "grafana,cluster_ai_scratch,cluster_ai_restored"),
        ("backup", "grafana"),
        ("monitoring", "postgres"),
    }


@pytest.mark.parametrize("grafanas", [1, 3])
def test_every_grafana_has_its_connections(grafanas: int, tmp_path: Path) -> None:
    found = settings((rendered(tmp_path, f"grafanas: {grafanas}") / "postgres/postgresql.conf").read_text())
    assert int(found["max_connections"]) - grafanas * GRAFANA_CONNECTIONS == 20
    assert found["listen_addresses"] == "*"
    assert found["password_encryption"] == "scram-sha-256"
    assert found["hba_file"] == str(tmp_path / "rendered/postgres/pg_hba.conf")


def test_where_they_listen_when_they_are_not_in_containers(tmp_path: Path) -> None:
    there = installed(tmp_path, postgres="127.0.0.1:25432", redis="127.0.0.1:26379")
    render(there.config, tmp_path / "rendered", places=there.places)
    found = settings((tmp_path / "rendered/postgres/postgresql.conf").read_text())
    assert (found["listen_addresses"], found["port"]) == ("127.0.0.1", "25432")
    assert "\nbind 127.0.0.1\nport 26379\n" in (tmp_path / "rendered/redis/redis.conf").read_text()


def test_redis_forgets_nothing_before_its_time(tmp_path: Path) -> None:
    lines = (rendered(tmp_path) / "redis/redis.conf").read_text().splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", "maxmemory 128mb"} < set(lines)
    assert f'aclfile "{tmp_path}/secrets/redis-users.acl"' in lines
    assert not [line for line in lines if line.startswith(("requirepass", "user "))]


def test_no_password_is_in_a_rendered_file(tmp_path: Path) -> None:
    there = installed(tmp_path, "grafanas: 2")
    out = tmp_path / "rendered"
    written = "".join(path.read_text() for path in render(there.config, out, places=there.places))
    for path in there.secrets.iterdir():
        for line in secret(there, path.name).splitlines():
            assert line not in written, path.name


def test_a_folder_that_a_shell_would_not_take_as_it_is(tmp_path: Path) -> None:
    there = installed(tmp_path)
    places = replace(there.places, secrets=Path("/srv/$(reboot)/secrets"))
    with pytest.raises(RenderError, match="cannot stand"):
        render(there.config, tmp_path / "rendered", places=places)


def test_grafanas_settings_in_production(tmp_path: Path) -> None:
    lines = (
        rendered(tmp_path, "grafanas: 2", "cdn_url: https://cdn.example.org/g") / "grafana/grafana.ini"
    ).read_text()
    found = dict(re.findall(r"^(\w+) = (.*)$", lines, re.MULTILINE))
    assert found["root_url"] == "https://monitoring.example.org/"
    assert found["domain"] == "monitoring.example.org"
    assert found["type"] == "redis"  # the last one: the cache's; the database's is before
    assert "type = postgres\nhost = postgres:5432\nname = grafana\nuser = grafana\n" in lines
    assert "sqlite3" not in lines
    assert found["ha_engine"] == "redis"
    assert {
        found[key] for key in ("cookie_secure", "enforce_domain", "router_logging", "id_response_header_enabled")
    } == {"true"}
    assert (found["enable_gzip"], found["cdn_url"], found["format"]) == ("false", "https://cdn.example.org/g", "json")
    policy = found["content_security_policy_template"]
    assert policy.count(" https://cdn.example.org") == 4
    assert "/g" not in policy


def test_one_grafana_needs_no_engine_and_no_cdn(tmp_path: Path) -> None:
    text = (rendered(tmp_path, "https: 0.0.0.0:8443") / "grafana/grafana.ini").read_text()
    assert "root_url = https://monitoring.example.org:8443/\n" in text
    assert "[live]" not in text
    assert "[log.frontend]" not in text
    assert "font-src 'self';" in text
