"""A real Grafana made what a file says, and everybody who may or may not come in. Needs GRAFANA_HOME."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from provisioning.config.load import load
from tests.ports import free_port
from tests.real.grafana_server import GrafanaServer, home, running
from tests.real.provider import CLIENT, SECRET, Key, Provider, provider

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
Apply = Callable[..., subprocess.CompletedProcess[str]]
PASSWORDS = {"ana": "Anas-password-1", "vera": "Veras-password-1", "carla": "Carlas-password-1"}
ISSUER, AUDIENCE, HEADER = "https://login.example.org", "monitoring", "X-JWT-Assertion"


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.fixture(scope="module")
def oidc() -> Iterator[Provider]:
    home()
    with provider(free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, key: Key, oidc: Provider) -> Path:
    folder = tmp_path_factory.mktemp("grafana")
    for name, password in PASSWORDS.items():
        (folder / name).write_text(password)
    (folder / "oidc-secret").write_text(SECRET)
    groups = {"claim": "realm_access.roles", "admin": ["boss"], "operator": ["ops", "on call"], "viewer": ["staff"]}
    data: dict[str, Any] = {
        "targets": {},
        "people": [
            {"name": "Ana", "email": "ana@example.org", "role": "operator", "password_file": "ana"},
            {"name": "vera", "password_file": "vera"},
            {"name": "carla", "role": "admin", "password_file": "carla"},
        ],
        "teams": [{"name": "gpu-team", "members": ["vera"]}],
        "services": {"grafana": f"127.0.0.1:{free_port()}"},
        "grafana": {
            "language": "pt",
            "theme": "light",
            "timezone": "America/Sao_Paulo",
            "folders": [
                {"name": "shared", "view": ["viewer"], "edit": ["operator"]},
                {"name": "gpu-pages", "view": ["gpu-team"], "edit": []},
            ],
            "service_accounts": [
                {"name": "wallboard", "role": "none", "view": ["shared"], "write_token_to": "tokens/wallboard"},
                {"name": "robot", "role": "viewer", "edit": ["shared"], "write_token_to": "tokens/robot",
                 "expires": "90d"},
            ],
            "jwt": {
                "issuer": ISSUER, "audience": AUDIENCE, "public_key_file": str(key.public(folder / "key.pem")),
                "username_claim": "sub", "roles": groups,
            },
            "oidc": {
                "client_id": CLIENT, "client_secret_file": "oidc-secret", "auth_url": f"{oidc.url}/authorize",
                "token_url": f"{oidc.url}/token", "userinfo_url": f"{oidc.url}/me",
                "roles": {**groups, "claim": "groups", "others": "viewer"},
            },
        },
    }  # fmt: skip
    path = folder / "cluster-ai.yml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[GrafanaServer]:
    with running(file.parent / "stack", load(file)) as made:
        yield made


@pytest.fixture(scope="module")
def apply(file: Path, server: GrafanaServer) -> Apply:
    def call(*words: str, config: Path = file) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "-m", "provisioning.cli", "grafana", "apply", "--config", str(config), "--url", server.url,
            "--password-file", str(server.places.grafana_admin_password), *words,
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return call


@pytest.fixture(scope="module")
def applied(apply: Apply, server: GrafanaServer) -> GrafanaServer:
    dry = apply("--dry-run")
    assert (dry.returncode, dry.stderr) == (3, "")
    first = apply()
    assert (first.returncode, first.stderr) == (0, ""), first.stdout
    # What the dry run promised is what came.
    assert [line for line in dry.stdout.splitlines() if line.startswith("  ")] == [
        line for line in first.stdout.splitlines() if line.startswith("  ")
    ]
    assert not [password for password in PASSWORDS.values() if password in first.stdout]
    return server


@pytest.mark.usefixtures("applied")
def test_the_second_time_changes_nothing(apply: Apply, server: GrafanaServer) -> None:
    with server.client("admin", server.password) as admin:
        before = [admin.get(path).json() for path in ("/api/org/users", "/api/teams/search", "/api/org/preferences")]
        again = apply()
        assert again.returncode == 0
        assert again.stdout.splitlines()[0].startswith("Nothing to change: ")
        after = [admin.get(path).json() for path in ("/api/org/users", "/api/teams/search", "/api/org/preferences")]
    for rows in (before[0], after[0]):
        for row in rows:
            del row["lastSeenAt"], row["lastSeenAtAge"]
    assert before == after


# Who may do what: method, path, body, then the status for nobody, a viewer, an operator and an admin.
MAY = [
    ("GET", "/api/dashboards/uid/cluster-ai-dashboard", None, (401, 200, 200, 200)),
    ("GET", "/api/search", None, (401, 200, 200, 200)),
    ("GET", "/api/folders/gate-operator", None, (401, 403, 200, 200)),
    ("GET", "/api/folders/shared", None, (401, 200, 200, 200)),
    ("GET", "/api/folders/gpu-pages", None, (401, 200, 403, 200)),  # vera is of the team
    ("POST", "/api/dashboards/db", {"dashboard": {"title": "x1"}, "folderUid": "cluster-ai"}, (401, 403, 403, None)),
    ("POST", "/api/dashboards/db", {"dashboard": {"title": "x2"}, "folderUid": "gate-operator"}, (401, 403, 403, None)),
    ("POST", "/api/dashboards/db", {"dashboard": {"title": "x3"}, "folderUid": "shared"}, (401, 403, 200, None)),
    ("DELETE", "/api/dashboards/uid/cluster-ai-dashboard", None, (401, 403, 403, 400)),
    ("POST", "/api/folders/gate-operator/permissions", {"items": []}, (401, 403, 403, None)),
    ("DELETE", "/api/folders/shared", None, (401, 403, None, None)),
    ("GET", "/api/org/users", None, (401, 403, 403, 200)),
    ("POST", "/api/admin/users", {"login": "x", "password": "Long-enough-1"}, (401, 403, 403, 403)),
    ("POST", "/api/teams", {"name": "x"}, (401, 403, 403, None)),
    ("POST", "/api/serviceaccounts", {"name": "x", "role": "Admin"}, (401, 403, 403, None)),
    ("GET", "/api/serviceaccounts/search", None, (401, 403, 403, 200)),
    ("POST", "/api/datasources", {"name": "x", "type": "prometheus", "access": "proxy"}, (401, 403, 403, None)),
    ("PATCH", "/api/org/preferences", {"theme": "dark"}, (401, 403, 403, None)),
    ("GET", "/api/admin/settings", None, (401, 403, 403, 403)),
    ("POST", "/api/snapshots", {"dashboard": {}}, (401, 403, 403, 403)),
    ("POST", "/api/orgs", {"name": "x"}, (401, 403, 403, 403)),
    ("POST", "/api/plugins/x/install", {}, (401, 404, 404, 404)),
]


@pytest.mark.parametrize(("method", "path", "body", "expected"), MAY, ids=lambda value: str(value)[:40])
def test_each_role_may_do_what_it_should_and_no_more(
    method: str, path: str, body: object, expected: tuple[int | None, ...], applied: GrafanaServer
) -> None:
    people = ("", "vera", "ana", "carla")
    for login, status in zip(people, expected, strict=True):
        if status is not None:  # what would change things for the tests that follow is not done
            assert applied.status(method, path, login, PASSWORDS.get(login, ""), json=body) == status, login or "nobody"


def test_programs_see_what_their_account_may(file: Path, applied: GrafanaServer) -> None:
    def status(name: str, method: str, path: str, body: object = None) -> int:
        token = (file.parent / f"tokens/{name}").read_text()
        header = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, applied.url + path, headers=header, json=body).status_code

    page = {"dashboard": {"title": "by a robot"}, "folderUid": "shared"}
    assert status("wallboard", "GET", "/api/folders/shared") == 200
    assert status("wallboard", "GET", "/api/folders/cluster-ai") == 403
    assert status("wallboard", "POST", "/api/dashboards/db", page) == 403
    assert status("robot", "GET", "/api/dashboards/uid/cluster-ai-dashboard") == 200
    assert status("robot", "GET", "/api/folders/gate-operator") == 403
    assert status("robot", "POST", "/api/dashboards/db", page) == 200
    with applied.client("admin", applied.password) as admin:
        for row in admin.get("/api/serviceaccounts/search").json()["serviceAccounts"]:
            tokens = admin.get(f"/api/serviceaccounts/{row['id']}/tokens").json()
            assert len(tokens) == 1
            assert (tokens[0]["expiration"] is None) == (row["name"] == "wallboard")


def test_people_begin_in_their_language_at_our_page(applied: GrafanaServer) -> None:
    with applied.client("vera", PASSWORDS["vera"]) as vera:
        assert vera.get("/api/dashboards/home").json()["redirectUri"].startswith("/d/cluster-ai-dashboard/")
        page = vera.get("/").text
        found = {key: re.findall(f'"{key}":"([^"]*)"', page) for key in ("language", "theme", "timezone")}
    assert found == {"language": ["pt-BR"], "theme": ["light"], "timezone": ["America/Sao_Paulo"]}
    assert 'lang="pt-BR"' in httpx.get(f"{applied.url}/login").text


def test_sessions_begin_with_the_form_and_end_with_the_person(apply: Apply, file: Path, applied: GrafanaServer) -> None:
    with httpx.Client(base_url=applied.url) as browser:
        assert browser.post("/login", json={"user": "carla", "password": PASSWORDS["carla"]}).status_code == 200
        (cookie,) = (one for one in browser.cookies.jar if one.name == "grafana_session")
        assert cookie.expires is not None
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert browser.get("/api/user").status_code == 200
        without = yaml.safe_load(file.read_text())
        without["people"] = [person for person in without["people"] if person["name"] != "carla"]
        other = file.with_name("without.yml")
        other.write_text(yaml.safe_dump(without))
        gone = apply(config=other)
        assert "- user carla: kept out, because the file no longer has this name" in gone.stdout
        assert browser.get("/api/user").status_code == 401
        assert applied.status("GET", "/api/user", "carla", PASSWORDS["carla"]) == 401
        assert "~ user carla: let in again" in apply().stdout
        assert applied.status("GET", "/api/user", "carla", PASSWORDS["carla"]) == 200


def test_grafana_holds_people_to_the_password_policy(applied: GrafanaServer) -> None:
    with applied.client("ana", PASSWORDS["ana"]) as ana:
        weak = {"oldPassword": PASSWORDS["ana"], "newPassword": "admin"}
        assert ana.put("/api/user/password", json=weak).status_code == 400


def test_nobody_signs_up_and_guesses_are_stopped(applied: GrafanaServer) -> None:
    assert applied.status("POST", "/api/user/signup", json={"email": "x@example.org"}) in (401, 404)
    assert applied.status("GET", "/api/user", "admin", "admin") == 401
    with httpx.Client(base_url=applied.url, headers={"X-Real-IP": "192.0.2.1"}) as guesser:
        for _ in range(5):
            assert guesser.post("/login", json={"user": "mallory", "password": "guess"}).status_code == 401
        # From that address, even a right password no longer helps.
        right = {"user": "vera", "password": PASSWORDS["vera"]}
        assert guesser.post("/login", json=right).status_code == 401
    assert applied.status("GET", "/api/user", "vera", PASSWORDS["vera"]) == 200


def claims(**more: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "wim", "email": "wim@example.org"} | more


@pytest.mark.parametrize(
    ("said", "role"),
    [
        ({"realm_access": {"roles": ["staff", "boss"]}}, "Admin"),
        ({"realm_access": {"roles": ["on call", "staff"]}}, "Editor"),
        ({"realm_access": {"roles": "ops"}}, "Editor"),
        ({"realm_access": {"roles": ["staff"]}}, "Viewer"),
        ({"realm_access": {"roles": ["boss-of-nothing", "no ops"]}}, None),
        ({"realm_access": {"roles": "boss-of-nothing"}}, None),
        ({"realm_access": {}}, None),
        ({}, None),
    ],
)
def test_a_proxys_token_gives_the_role_it_says(
    said: dict[str, Any], role: str | None, applied: GrafanaServer, key: Key
) -> None:
    token = key.token(**claims(sub=f"by-token-{role}", email=f"{role}@example.org", **said))
    answer = httpx.get(f"{applied.url}/api/user/orgs", headers={HEADER: token})
    if role is None:
        assert answer.status_code in (401, 403)
    else:
        assert [one["role"] for one in answer.json()] == [role]


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://elsewhere.example.org"},
        {"aud": "another-service"},
        {"exp": 1_600_000_000},
        {"nbf": 4_000_000_000},
        {"sub": None, "email": None},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_token_that_is_not_for_us_opens_nothing(wrong: dict[str, Any], applied: GrafanaServer, key: Key) -> None:
    said = claims(realm_access={"roles": ["boss"]}) | wrong
    token = key.token(**{name: value for name, value in said.items() if value is not None})
    assert httpx.get(f"{applied.url}/api/user", headers={HEADER: token}).status_code == 401


def test_a_token_of_another_key_or_in_the_address_opens_nothing(applied: GrafanaServer, key: Key) -> None:
    good = claims(realm_access={"roles": ["boss"]})
    assert httpx.get(f"{applied.url}/api/user", headers={HEADER: Key().token(**good)}).status_code == 401
    header, body, _ = key.token(**good).split(".")
    assert httpx.get(f"{applied.url}/api/user", headers={HEADER: f"{header}.{body}."}).status_code == 401
    assert httpx.get(f"{applied.url}/api/user?auth_token={key.token(**good)}").status_code == 401
    assert httpx.get(f"{applied.url}/api/user", headers={HEADER: key.token(**good)}).status_code == 200


@contextmanager
def sign_in(server: GrafanaServer, oidc: Provider, **person: Any) -> Iterator[httpx.Client]:
    """A browser after the whole way to the provider and back."""
    oidc.person = person
    with httpx.Client(base_url=server.url, follow_redirects=True, timeout=30) as browser:
        browser.get("/login/generic_oauth")
        assert oidc.problems == []
        yield browser


@pytest.mark.parametrize(
    ("groups", "role"), [(["boss"], "Admin"), (["ops", "x"], "Editor"), (["x"], "Viewer"), (None, "Viewer")]
)
def test_somebody_signs_in_at_the_provider(
    groups: list[str] | None, role: str, applied: GrafanaServer, oidc: Provider
) -> None:
    name = f"oidc-{role}-{groups and groups[0]}".lower()
    person = {"sub": name, "preferred_username": name, "email": f"{name}@example.org"} | (
        {"groups": groups} if groups else {}
    )
    with sign_in(applied, oidc, **person) as browser:
        assert browser.get("/api/user").json()["login"] == name
        assert [one["role"] for one in browser.get("/api/user/orgs").json()] == [role]


def test_an_address_at_the_provider_does_not_take_over_a_user_with_a_password(
    applied: GrafanaServer, oidc: Provider
) -> None:
    with sign_in(applied, oidc, sub="x", preferred_username="x", email="ana@example.org", groups=["boss"]) as browser:
        assert browser.get("/api/user").status_code == 401
    with applied.client("admin", applied.password) as admin:
        assert admin.get("/api/org/users/search?query=ana").json()["orgUsers"][0]["role"] == "Editor"


def test_sessions_rotate_after_a_quarter_of_an_hour_and_end_after_a_week(applied: GrafanaServer) -> None:
    with applied.client("admin", applied.password) as admin:
        found = admin.get("/api/admin/settings").json()
    assert found["auth"]["token_rotation_interval_minutes"] == "15"
    assert found["auth"]["login_maximum_lifetime_duration"] == "7d"
    assert found["auth"]["login_maximum_inactive_lifetime_duration"] == "7d"
    secrets = (found["security"]["admin_password"], found["security"]["secret_key"])
    assert [one.strip("*") for one in (*secrets, found["auth.generic_oauth"]["client_secret"])] == ["", "", ""]
    with httpx.Client(base_url=applied.url) as browser:
        browser.post("/login", json={"user": "ana", "password": PASSWORDS["ana"]})
        (cookie,) = (one for one in browser.cookies.jar if one.name == "grafana_session")
    assert cookie.expires is not None
    assert 7 * 86400 - 600 < cookie.expires - time.time() <= 7 * 86400 + 60


def test_grafana_asks_nobody_outside(applied: GrafanaServer) -> None:
    assert applied.asked_outside == []


def test_grafana_complains_of_nothing_we_rendered(applied: GrafanaServer) -> None:
    log = applied.log.read_text(errors="replace")
    bad = [line for line in log.splitlines() if re.search(r"level=error|level=warn.*(provisioning|plugin)", line)]
    # What these tests themselves provoke: wrong passwords and tokens, and a sign-in of somebody who may not come in.
    provoked = "context|authn.service|auth.jwt|user.sync|oauth|password|folder-service|accesscontrol"
    assert [line for line in bad if not re.search(rf"logger=({provoked})", line)] == []
    assert not [password for password in (*PASSWORDS.values(), applied.password, SECRET) if password in log]


@pytest.fixture
def without_roles(tmp_path: Path, key: Key, oidc: Provider) -> Iterator[GrafanaServer]:
    """A Grafana where everybody comes through another system, and `people` say the role."""
    (tmp_path / "oidc-secret").write_text(SECRET)
    data = {
        "targets": {},
        "people": [{"name": "ana", "role": "operator"}, {"name": "olga", "email": "olga@example.org", "role": "admin"}],
        "services": {"grafana": f"127.0.0.1:{free_port()}"},
        "grafana": {
            "passwords": False,
            "jwt": {
                "issuer": ISSUER, "audience": AUDIENCE, "public_key_file": str(key.public(tmp_path / "key.pem")),
                "username_claim": "sub",
            },
            "oidc": {
                "client_id": CLIENT, "client_secret_file": "oidc-secret", "auth_url": f"{oidc.url}/authorize",
                "token_url": f"{oidc.url}/token", "userinfo_url": f"{oidc.url}/me",
            },
        },
    }  # fmt: skip
    path = tmp_path / "cluster-ai.yml"
    path.write_text(yaml.safe_dump(data))
    with running(tmp_path / "stack", load(path)) as made:
        yield made


def test_people_of_the_file_have_their_role_wherever_they_sign_in(
    without_roles: GrafanaServer, key: Key, oidc: Provider
) -> None:
    def by_token() -> str:
        answer = httpx.get(f"{without_roles.url}/api/user/orgs", headers={HEADER: key.token(**claims(sub="ana"))})
        return str(answer.json()[0]["role"])

    def by_provider() -> str:
        person = {"sub": "7", "preferred_username": "olga.p", "email": "olga@example.org"}
        with sign_in(without_roles, oidc, **person) as browser:
            return str(browser.get("/api/user/orgs").json()[0]["role"])

    def apply() -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "-m", "provisioning.cli", "grafana", "apply", "--url", without_roles.url,
            "--config", str(without_roles.folder.parent / "cluster-ai.yml"),
            "--password-file", str(without_roles.places.grafana_admin_password),
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    first = apply()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "(ana has not signed in yet, and gets the rights after that)" in first.stdout
    assert (by_token(), by_provider()) == ("Viewer", "Viewer")
    assert apply().returncode == 0
    assert (by_token(), by_provider()) == ("Editor", "Admin"), "signing in again leaves the role"
    assert apply().stdout.startswith("Nothing to change: ")
    refused = httpx.post(f"{without_roles.url}/login", json={"user": "admin", "password": without_roles.password})
    assert refused.status_code == 400, "there is no form"
