"""Grafana comes back from a backup, and from SQLite to PostgreSQL; Alertmanager with its silences."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.backup import archive, restoring, work
from provisioning.config.load import load
from provisioning.grafana.api import Api
from provisioning.grafana.apply import carry_out, compare, wait_for_pages
from provisioning.grafana.wanted import wanted
from provisioning.secrets.names import IDENTITY, OPERATOR_KEY
from tests.compose.running import until
from tests.ports import free_port
from tests.provisioning.secrets.installed import write
from tests.real import grafana_server
from tests.real.production_grafana import Stack, of
from tests.standins import postgres_server
from tests.tools import tool

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
PEOPLE = """
people:
  - {name: ana, email: ana@example.org, role: operator, password_file: ana}
  - {name: vera, role: viewer, password_file: vera}
teams:
  - {name: gpu, members: [vera]}
"""


def quiet(_line: str) -> None:
    pass


def with_people(folder: Path) -> None:
    file = folder / "cluster-ai.yml"
    file.write_text(file.read_text() + PEOPLE)
    for name in ("ana", "vera"):
        (folder / name).write_text(f"Password-of-{name}-1")


def seen(admin: httpx.Client) -> dict[str, Any]:
    """What people see of who there is and what they may do; without what every database numbers for itself."""
    users = [(row["login"], row["email"], row["role"]) for row in admin.get("/api/org/users").json()]
    teams = {row["name"]: row["id"] for row in admin.get("/api/teams/search").json()["teams"]}
    folders = {row["uid"]: row["title"] for row in admin.get("/api/folders").json()}
    rights = {
        uid: sorted(
            (row.get("role"), row.get("team"), row.get("userLogin"), row["permission"])
            for row in admin.get(f"/api/folders/{uid}/permissions").json()
        )
        for uid in folders
    }
    return {
        "users": sorted(users),
        "teams": {
            name: [row["login"] for row in admin.get(f"/api/teams/{id}/members").json()] for name, id in teams.items()
        },
        "folders": folders,
        "rights": repr(rights),
        "pages": sorted(row["uid"] for row in admin.get("/api/search", params={"type": "dash-db"}).json()),
        "sources": sorted((row["uid"], row["type"]) for row in admin.get("/api/datasources").json()),
        "home": admin.get("/api/org/preferences").json().get("homeDashboardUID"),
    }


def apply(running: Stack) -> None:
    with running.api() as api:
        wait_for_pages(api, running.there.config.grafana.home, 30)
        assert carry_out(compare(wanted(running.there.config), api).steps) == []


def test_from_sqlite_to_postgresql_by_the_same_file(tmp_path: Path) -> None:
    """What `grafana apply` brings over: everything that is in the file. What is not stays behind: a star of ana's."""
    grafana_server.home()
    (tmp_path / "laptop").mkdir()
    (tmp_path / "laptop/cluster-ai.yml").write_text(
        "targets: {dask: [{name: main, scheduler: 'tcp://10.0.0.5:8786'}]}\n"
    )
    with_people(tmp_path / "laptop")
    config = load(tmp_path / "laptop/cluster-ai.yml")
    services = config.services.model_copy(update={"grafana": f"127.0.0.1:{free_port()}"})
    config = config.model_copy(update={"services": services})
    star = "/api/user/stars/dashboard/uid/cluster-ai-dashboard"
    with grafana_server.running(tmp_path / "laptop", config) as laptop:
        with laptop.client("admin", laptop.password) as admin:
            with Api(laptop.url, "admin", laptop.password) as api:
                wait_for_pages(api, config.grafana.home, 30)
                assert carry_out(compare(wanted(config), api).steps) == []
            before = seen(admin)
        with laptop.client("ana", "Password-of-ana-1") as ana:
            assert ana.post(star).status_code == 200
            assert ana.get("/api/user/stars").json() == ["cluster-ai-dashboard"]
    with postgres_server.folder() as folder:
        write(folder)
        with_people(folder)
        with of(folder) as production:
            production.start()
            apply(production)
            with production.client() as admin:
                admin.auth = ("admin", (production.there.secrets / "grafana-admin-password").read_text())
                assert seen(admin) == before
            with production.client() as ana:
                ana.auth = ("ana", "Password-of-ana-1")
                assert ana.get("/api/user").json()["login"] == "ana"
                assert ana.get("/api/user/stars").json() == []


def test_grafana_comes_back_on_an_empty_machine_and_people_are_still_signed_in() -> None:
    grafana_server.home()
    with postgres_server.folder() as lost, postgres_server.folder() as folder:
        write(lost)
        with_people(lost)
        with of(lost) as old:
            backup, before, cookie = _worked_with(old)
        key = lost / "secrets" / OPERATOR_KEY
        _restored(backup, key, folder, before, cookie)


def _worked_with(old: Stack) -> tuple[Path, dict[str, Any], str]:
    old.start()
    apply(old)
    with old.sign_in() as browser:
        assert browser.post("/api/user/stars/dashboard/uid/cluster-ai-dashboard").status_code == 200
        before = seen(browser)
        backup = work.backup(old.there, NOW, quiet)
        work.verify(old.there, NOW, quiet)
        assert browser.post("/api/teams", json={"name": "since the backup"}).status_code == 200
        return backup, before, browser.headers["Cookie"]


def _restored(backup: Path, key: Path, folder: Path, before: dict[str, Any], cookie: str) -> None:
    how: dict[str, bool] = {"overwrite": False, "dry_run": False}
    with postgres_server.with_programs():
        restoring.files(backup, key, folder, say=quiet, **how)
    with of(folder) as new:
        restoring.grafana(new.there, backup, key, patience=5, say=quiet, **how)
        new.start()
        with new.client() as browser:
            browser.headers["Cookie"] = cookie
            assert browser.get("/api/user/stars").json() == ["cluster-ai-dashboard"]
            assert seen(browser) == before
        again = work.backup(new.there, NOW + timedelta(days=1), quiet)
        assert archive.check(again, new.there.secrets / IDENTITY).contents.tables


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    port = free_port()
    (folder / "am.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    command = [tool("alertmanager"), f"--config.file={folder}/am.yml", f"--storage.path={folder}/data/alertmanager"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/api/v2"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/status").status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(answers, "Alertmanager to answer")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_silences_come_back() -> None:
    silence = {
        "matchers": [{"name": "alertname", "value": "DaskSchedulerDown", "isRegex": False, "isEqual": True}],
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": (datetime.now(UTC) + timedelta(days=2)).isoformat(),
        "createdBy": "ana",
        "comment": "ACK",
    }
    with postgres_server.running() as server, postgres_server.folder() as folder:
        with alertmanager(server.there.folder) as url:
            id = httpx.post(f"{url}/silences", json=silence).json()["silenceID"]
        backup = work.backup(server.there, NOW, quiet)
        key = server.there.secrets / OPERATOR_KEY
        restoring.files(backup, key, folder, overwrite=False, dry_run=False, say=quiet)
        with alertmanager(folder) as url:
            [back] = httpx.get(f"{url}/silences").json()
        assert (back["id"], back["createdBy"], back["status"]["state"]) == (id, "ana", "active")
