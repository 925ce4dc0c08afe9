"""The sections of grafana.ini that let people in by another system's word."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import Any

import pytest

from provisioning.config.model import Config
from provisioning.config.sign_in import Roles
from provisioning.render import Places, RenderError, make_secrets, render
from provisioning.render.sign_in import role_expression

JWT = {"issuer": "https://login.example.org", "audience": "monitoring", "public_key_file": Path("/s/key.pem")}
OIDC = {
    "client_id": "monitoring",
    "client_secret_file": Path("/s/secret"),
    "auth_url": "https://login.example.org/application/o/authorize/",
    "token_url": "https://login.example.org/application/o/token/",
    "userinfo_url": "https://login.example.org/application/o/userinfo/",
}


def ini(folder: Path, **grafana: Any) -> configparser.RawConfigParser:
    render(
        Config.model_validate({"targets": {}, "grafana": grafana}), folder, places=Places(data=folder, secrets=folder)
    )
    parsed = configparser.RawConfigParser(comment_prefixes=(";",))
    parsed.read_string("[DEFAULT]\n" + (folder / "grafana/grafana.ini").read_text())
    return parsed


def test_people_with_passwords_alone_need_no_more(tmp_path: Path) -> None:
    found = ini(tmp_path)
    assert "auth.jwt" not in found
    assert "auth.generic_oauth" not in found
    assert found["auth"]["disable_login_form"] == "false"
    assert found["sso_settings"]["configurable_providers"] == ""


def test_a_jwt_is_held_to_issuer_audience_and_key(tmp_path: Path) -> None:
    found = ini(tmp_path, jwt={**JWT, "header": "X-Token", "username_claim": "sub"})["auth.jwt"]
    assert found["enabled"] == "true"
    assert found["header_name"] == "X-Token"
    assert found["key_file"] == "/s/key.pem"
    assert json.loads(found["expect_claims"]) == {"iss": "https://login.example.org", "aud": "monitoring"}
    assert found["username_attribute_path"] == "sub"
    assert found["url_login"] == "false"
    assert found["allow_assign_grafana_admin"] == "false"
    assert found["skip_org_role_sync"] == "true"
    assert "role_attribute_path" not in found


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ({"keys_file": Path("/s/keys.json")}, ("jwk_set_file", "/s/keys.json")),
        ({"keys_url": "https://login.example.org/keys"}, ("jwk_set_url", "https://login.example.org/keys")),
    ],
)
def test_keys_may_be_a_set(tmp_path: Path, key: dict[str, Any], written: tuple[str, str]) -> None:
    found = ini(tmp_path, jwt={"issuer": "i", "audience": "a"} | key)["auth.jwt"]
    assert found[written[0]] == written[1]
    assert "key_file" not in found


def test_oidc_names_its_secret_by_path_and_keeps_addresses_as_they_are(tmp_path: Path) -> None:
    roles = {"claim": "groups", "admin": ["ops"]}
    found = ini(tmp_path, url="https://m.example.org/", passwords=False, oidc={**OIDC, "roles": roles})
    section = found["auth.generic_oauth"]
    assert section["client_secret"] == "$__file{/s/secret}"
    assert section["token_url"] == OIDC["token_url"]
    assert section["scopes"] == "openid profile email"
    assert (section["use_pkce"], section["role_attribute_strict"]) == ("true", "true")
    assert section["role_attribute_path"] == "(contains([groups][], 'ops')) && 'Admin'"
    assert found["auth"]["disable_login_form"] == "true"
    assert found["auth"]["oauth_allow_insecure_email_lookup"] == "false"
    assert found["server"]["root_url"] == "https://m.example.org/"
    assert found["security"]["cookie_secure"] == "true"


def test_a_secret_in_a_folder_that_an_ini_file_would_bend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"cannot stand in grafana\.ini"):
        ini(tmp_path, oidc={**OIDC, "client_secret_file": Path("/s/a}b")})


def test_the_highest_role_comes_first() -> None:
    roles = Roles(claim="realm_access.roles", admin=["a"], operator=["b", "c"], viewer=["d"], others="viewer")
    assert role_expression(roles) == (
        "(contains([realm_access.roles][], 'a')) && 'Admin'"
        " || (contains([realm_access.roles][], 'b') || contains([realm_access.roles][], 'c')) && 'Editor'"
        " || (contains([realm_access.roles][], 'd')) && 'Viewer' || 'Viewer'"
    )


def test_language_theme_and_times_hold_before_anybody_signs_in(tmp_path: Path) -> None:
    found = ini(tmp_path, language="pt", theme="system", timezone="America/Sao_Paulo")
    assert found["users"]["default_language"] == "pt-BR"
    assert found["users"]["default_theme"] == "system"
    assert found["date_formats"]["default_timezone"] == "America/Sao_Paulo"


@pytest.mark.parametrize("password", ["admin", "admin\n", "Admin-1234567890", "short", "aaaaaaaaaaaaaaaaaaaa"])
def test_an_administrators_password_that_anybody_would_try_starts_nothing(tmp_path: Path, password: str) -> None:
    places = Places(data=tmp_path, secrets=tmp_path)
    places.grafana_admin_password.write_text(password)
    with pytest.raises(RenderError, match="is not used: it "):
        make_secrets(places)
    assert places.grafana_admin_password.read_text() == password
