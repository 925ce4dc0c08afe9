"""A real Grafana behind the door, and people in a browser before it. Needs GRAFANA_HOME and nginx; pages Chromium."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from compose.audit.cli import audit
from provisioning.config.model import Services
from tests.compose.running import until
from tests.ports import free_port
from tests.real import grafana_server
from tests.real.browser import PATIENCE, chromium, look
from tests.real.grafana_server import GrafanaServer
from tests.standins import nginx_server
from tests.standins.nginx_server import DOMAIN, Door
from tests.tools import tool

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
FRIEND = "https://intranet.example.org"
OVERVIEW = "/d/cluster-ai-dashboard"


@pytest.fixture(scope="module")
def port() -> int:
    grafana_server.home()
    return free_port()


@pytest.fixture(scope="module")
def door(port: int) -> Iterator[Door]:
    with nginx_server.running(f"127.0.0.1:{port}", cors_origins=[FRIEND]) as made:
        yield made


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One without any data: pages ask, and get an answer."""
    folder, address = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    places = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with subprocess.Popen([tool("prometheus"), *places, f"--web.listen-address={address}"], stderr=-3) as process:
        yield address
        process.terminate()


@pytest.fixture(scope="module")
def grafana(
    door: Door, port: int, prometheus: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GrafanaServer]:
    services = Services(grafana=f"127.0.0.1:{port}", prometheus=prometheus)
    config = door.config.model_copy(update={"services": services})
    with pytest.MonkeyPatch.context() as patch:  # as in production, where its database is another
        patch.setenv("GF_AUTH_ID_RESPONSE_HEADER_ENABLED", "true")
        patch.setenv("GF_SERVER_ENABLE_GZIP", "false")
        patch.setenv("GF_SECURITY_CSRF_TRUSTED_ORIGINS", "intranet.example.org")
        with grafana_server.running(tmp_path_factory.mktemp("grafana"), config) as made:
            yield made


@pytest.fixture(scope="module")
def page(door: Door, grafana: GrafanaServer) -> Iterator[Any]:
    """The page that somebody sees who has just signed in by Grafana's own form."""
    with chromium(f"--host-resolver-rules=MAP {DOMAIN} 127.0.0.1") as browser:
        context = browser.new_context(base_url=door.url, ignore_https_errors=True)
        context.set_default_timeout(PATIENCE)
        made = context.new_page()
        made.complaints = []
        made.on(
            "console", lambda said: made.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        made.goto("/login")
        made.fill('input[name="user"]', "admin")
        made.fill('input[name="password"]', grafana.password)
        made.click('button[type="submit"]')
        made.wait_for_url(lambda url: "/login" not in url)
        yield made


def log(door: Door) -> list[dict[str, Any]]:
    return [json.loads(line) for line in door.access_log.read_text().splitlines()]


def told(door: Door) -> list[dict[str, Any]]:
    done = CliRunner().invoke(audit, [str(door.attempts_log), str(door.audit_log), "--json"])
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_people_sign_in_and_no_browser_complains(page: Any, door: Door) -> None:
    page.wait_for_selector("[data-viz-panel-key]")
    refused = [text for text in page.complaints if "Content Security Policy" in text or "Permissions-Policy" in text]
    assert refused == []
    assert ('login "admin"', "signed in", "done") in {(one["who"], one["did"], one["outcome"]) for one in told(door)}
    until(lambda: "/api/ds/query" in door.access_log.read_text(), "queries to be answered")
    asked = [line for line in log(door) if line["path"] == "/api/ds/query"]
    assert {(line["identity"], line["protocol"], line["tls"]) for line in asked} == {("user:1", "HTTP/2.0", "TLSv1.3")}


@pytest.mark.parametrize("name", ["dashboard", "workers", "settings"])
def test_pages_load_whole_and_live(page: Any, door: Door, name: str) -> None:
    opened = page.context.new_page()
    assert look(opened, f"{door.url}/d/cluster-ai-{name}", []) == []
    opened.close()
    assert not [line for line in log(door) if line["status"] == 429]
    until(lambda: any(line["path"] == "/api/live/ws" for line in log(door)), "a websocket to end")
    assert {line["status"] for line in log(door) if line["path"] == "/api/live/ws"} == {101}


def test_a_session_is_renewed_on_the_way_to_a_page(page: Any, door: Door, grafana: GrafanaServer) -> None:
    """As when a tab wakes up after an hour."""
    [before] = [one["value"] for one in page.context.cookies() if one["name"] == "grafana_session"]
    with sqlite3.connect(grafana.folder / "data/grafana/grafana.db", timeout=20) as database:
        database.execute("UPDATE user_auth_token SET rotated_at = rotated_at - 3600")
    database.close()
    with door.client(cookies={"grafana_session": before}) as client:
        assert client.get("/api/user").status_code == 401
        sent = client.get(OVERVIEW)
        assert (sent.status_code, urlsplit(sent.headers["location"]).path) == (302, "/user/auth-tokens/rotate")
    opened = page.context.new_page()
    opened.goto(OVERVIEW)
    opened.wait_for_selector("[data-viz-panel-key]")
    assert OVERVIEW in opened.url
    opened.close()


def test_who_changed_what_is_told(door: Door, grafana: GrafanaServer) -> None:
    with door.client(auth=("admin", grafana.password)) as admin:
        made = admin.post("/api/admin/users", json={"login": "vera", "password": "Veras-password-1"})
        user = made.json()["id"]
        admin.patch(f"/api/org/users/{user}", json={"role": "Editor"}).raise_for_status()
        admin.post("/api/folders", json={"uid": "gpu", "title": "GPU"}).raise_for_status()
        admin.post("/api/folders/gpu/permissions", json={"items": []}).raise_for_status()
    with door.client(auth=("vera", "Veras-password-1")) as vera:
        assert vera.post("/api/teams", json={"name": "mine"}).status_code == 403
    with door.client() as stranger:
        stranger.post("/login", json={"user": "vera", "password": "wrong"})
    expected = {
        ("user:1", "made a user", "done"), ("user:1", f"changed the role of user {user}", "done"),
        ("user:1", "made a folder", "done"), ("user:1", "changed who may see or edit folder gpu", "done"),
        (f"user:{user}", "made a team", "refused"), ('login "vera"', "tried to sign in", "refused"),
    }  # fmt: skip
    until(lambda: expected <= {(one["who"], one["did"], one["outcome"]) for one in told(door)}, "all to be told")
    assert "wrong" not in door.access_log.read_text()


def test_a_header_makes_nobody_an_administrator(door: Door, grafana: GrafanaServer) -> None:
    with door.client(headers={"X-WEBAUTH-USER": "admin", "X-Grafana-User": "admin"}) as client:
        assert client.get("/api/user").status_code == 401
        answers = {path: client.get(path).status_code for path in ("/metrics", "/api/admin/settings", "/api/snapshots")}
    assert answers == dict.fromkeys(answers, 404)
    assert httpx.get(f"{grafana.url}/metrics").status_code == 200, "it is the door that closes it"


@pytest.mark.parametrize(("origin", "status"), [(FRIEND, 200), ("https://evil.example", 403)])
def test_only_pages_of_named_origins_ask_with_a_session(
    door: Door, grafana: GrafanaServer, origin: str, status: int
) -> None:
    with door.client() as client:
        client.post("/login", json={"user": "admin", "password": grafana.password}).raise_for_status()
        session = dict(client.cookies)
    with door.client(headers={"Origin": origin}, cookies=session) as client:
        answers = client.get("/api/search"), client.post("/api/folders", json={"title": origin})
    assert [answer.status_code for answer in answers] == [status, status]
    allowed = {answer.headers.get("access-control-allow-origin") for answer in answers}
    assert allowed == {FRIEND if status == 200 else None}


def test_guessing_locks_out_whatever_address_a_guesser_claims(door: Door, grafana: GrafanaServer) -> None:
    """The last of these tests: Grafana counts five wrong passwords from one address, which is ours."""
    with door.client() as client:
        for number in range(6):
            forged = {"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": f"203.0.113.{number}"}
            client.post("/login", json={"user": f"nobody-{number}", "password": "wrong"}, headers=forged)
        locked = client.post("/login", json={"user": "admin", "password": grafana.password})
    assert locked.status_code == 401, "counted by the address that nginx saw"


def test_the_password_is_nowhere(door: Door, grafana: GrafanaServer) -> None:
    for path in (door.access_log, door.attempts_log, door.audit_log, door.said, *Path(door.folder / "nginx").iterdir()):
        assert grafana.password not in path.read_text(), path
