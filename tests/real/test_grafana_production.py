"""A real Grafana with the settings of production: its people in PostgreSQL, its cache and Live in Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from provisioning.grafana.apply import carry_out, compare, wait_for_pages
from provisioning.grafana.wanted import wanted
from provisioning.secrets.database import query
from provisioning.secrets.rotating import rotate
from tests.compose.running import until
from tests.provisioning.secrets.installed import secret
from tests.real.grafana_server import home
from tests.real.production_grafana import Stack, stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    home()
    with stack("grafanas: 2") as started:
        started.start()
        yield started


def in_database(running: Stack, sql: str) -> str:
    return query(running.postgres.login("grafana", "grafana-database-password"), "grafana", sql).strip()


def test_people_and_sessions_are_in_postgresql(running: Stack) -> None:
    with running.sign_in() as browser:
        assert browser.get("/api/user").json()["login"] == "admin"
    assert in_database(running, 'SELECT login FROM "user"') == "admin"
    assert int(in_database(running, "SELECT count(*) FROM user_auth_token")) > 0
    assert not list((running.there.folder / "data").rglob("*.db"))


def test_the_cookie_and_the_name_are_those_of_production(running: Stack) -> None:
    with running.client() as browser:
        login = {"user": "admin", "password": secret(running.there, "grafana-admin-password")}
        answer = browser.post("/login", json=login)
        assert "; Secure" in answer.headers["set-cookie"]
    with httpx.Client(base_url=running.url) as stranger:
        elsewhere = stranger.get("/login")
        assert (elsewhere.status_code, elsewhere.headers["location"]) == (301, "https://monitoring.example.org/login")
        assert stranger.get("/metrics").status_code == 200
        assert stranger.get("/api/health").json()["database"] == "ok"


def test_nginx_is_told_who_asked(running: Stack) -> None:
    with running.sign_in() as browser:
        assert browser.get("/api/user").headers["x-grafana-identity-id"].startswith("user:")


def test_live_is_in_redis_and_nothing_is_refused_there(running: Stack) -> None:
    asked = Redis(
        port=running.redis.port, username="monitoring", password=secret(running.there, "redis-exporter-password")
    )
    with asked:
        until(lambda: asked.info("stats")["pubsub_channels"] > 0, "Live to listen in Redis")
        refused = {name for name, one in asked.info("commandstats").items() if one["rejected_calls"]}
        assert refused == set()
        assert "errorstat_WRONGPASS" not in asked.info("errorstats")
    log = running.log.read_text()
    assert "live engine" not in log
    assert "NOPERM" not in log
    assert "WRONGPASS" not in log
    for path in running.there.secrets.iterdir():
        assert path.read_text().splitlines()[0] not in log, path.name


def test_a_new_database_gets_people_and_folders_from_the_file(running: Stack) -> None:
    """What takes the place of copying SQLite's database: Grafana is all code."""
    with running.api() as api:
        wait_for_pages(api, running.there.config.grafana.home, 30)
        seen = compare(wanted(running.there.config), api)
        assert carry_out(seen.steps) == []
        assert compare(wanted(running.there.config), api).steps == []
    assert in_database(running, "SELECT count(*) FROM dashboard WHERE uid = 'cluster-ai-dashboard'") == "1"


def test_what_takes_the_place_of_another_secret_key(running: Stack) -> None:
    """`secrets rotate grafana-secret-key` refuses, and names these two."""
    with running.client() as admin:
        admin.auth = ("admin", secret(running.there, "grafana-admin-password"))
        for what, status in (("rotate-data-keys", 204), ("reencrypt-secrets", 200)):
            assert admin.post(f"/api/admin/encryption/{what}").status_code == status
        assert admin.get("/api/search").status_code == 200


NAMES = ("postgres-password", "grafana-database-password", "postgres-exporter-password", "backup-database-password")


def test_every_secret_is_replaced_while_people_work(running: Stack) -> None:
    """Somebody asks all the time; not one answer fails, and they stay signed in."""
    there = running.there
    failed: list[str] = []
    count = 0
    done = threading.Event()
    with running.sign_in() as browser:

        def work() -> None:
            nonlocal count
            while not done.is_set():
                answer = browser.get("/api/search")
                count += 1
                if answer.status_code != 200:
                    failed.append(f"{answer.status_code} {answer.text[:200]}")

        worker = threading.Thread(target=work)
        worker.start()
        try:
            before = {path.name: path.read_text() for path in there.secrets.iterdir()}
            for name in (*NAMES, "redis-grafana-password", "redis-bridge-password", "redis-exporter-password"):
                rotate(there, name, grafana=running.url)
                assert secret(there, name) != before[name]
            rotate(there, "redis-admin-password", grafana=running.url)
            rotate(there, "sms-bridge-token", grafana=running.url)
            rotate(there, "grafana-admin-password", grafana=running.url)
            more = count + 20
            until(lambda: count > more, "people to work on")
        finally:
            done.set()
            worker.join()
        assert not failed
    running.stop()  # what `rotate` asks for
    running.start()
    for name in ("redis-grafana-password", "redis-bridge-password", "redis-exporter-password"):
        rotate(there, name, grafana=running.url, finish=True)
    assert not [path.name for path in there.secrets.iterdir() if path.name.endswith((".next", ".previous"))]
    with running.sign_in() as browser:  # with the new password of the administrator
        assert browser.get("/api/user").status_code == 200
    log = running.log.read_text()
    for path in there.secrets.iterdir():
        assert path.read_text().splitlines()[0] not in log + running.postgres.log, path.name


def test_postgresql_gone_and_back(running: Stack) -> None:
    with running.sign_in() as browser:
        running.postgres.stop()
        begun = time.monotonic()
        until(lambda: browser.get("/api/health").status_code == 503, "Grafana to say so", seconds=30)
        assert time.monotonic() - begun < 30
        assert browser.get("/api/user").status_code in (401, 500)
        running.postgres.start()
        until(lambda: browser.get("/api/user").status_code == 200, "the same session to work again", seconds=60)


def test_redis_gone_and_back(running: Stack) -> None:
    with running.sign_in() as browser:
        running.redis.stop()
        assert browser.get("/api/user").status_code == 200
        assert browser.get("/api/search").status_code == 200
        running.redis.start()
        assert browser.get("/api/user").status_code == 200
