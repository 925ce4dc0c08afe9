"""Signing in without a password of Grafana's own, as sections of grafana.ini."""

from __future__ import annotations

import json
from collections.abc import Iterable

from provisioning.config.grafana import Grafana
from provisioning.config.sign_in import Jwt, Oidc, Roles, SignIn
from provisioning.render.ini_path import ini_path

Section = dict[str, str]


def sections(grafana: Grafana) -> dict[str, Section]:
    """The sections by name; none where people have passwords alone. Raises RenderError as `ini_path` does."""
    made = {}
    if grafana.jwt is not None:
        made["auth.jwt"] = _jwt(grafana.jwt)
    if grafana.oidc is not None:
        made["auth.generic_oauth"] = _oidc(grafana.oidc)
    return made


def _jwt(jwt: Jwt) -> Section:
    if jwt.public_key_file is not None:
        key = {"key_file": ini_path(jwt.public_key_file)}
    elif jwt.keys_file is not None:
        key = {"jwk_set_file": ini_path(jwt.keys_file)}
    else:
        key = {"jwk_set_url": str(jwt.keys_url)}
    return {
        "enabled": "true",
        "header_name": jwt.header,
        **key,
        # Checked in every token, so that one made for another service does not open this one.
        "expect_claims": json.dumps({"iss": jwt.issuer, "aud": jwt.audience}),
        "username_attribute_path": jwt.username_claim,
        "email_attribute_path": jwt.email_claim,
        "auto_sign_up": _word(jwt.sign_up),
        "url_login": "false",  # a token in an address stays in logs and histories
        **_roles(jwt),
    }


def _oidc(oidc: Oidc) -> Section:
    authority = {"tls_client_ca": ini_path(oidc.ca_file)} if oidc.ca_file else {}
    return {
        "enabled": "true",
        "name": oidc.label,
        "client_id": oidc.client_id,
        "client_secret": f"$__file{{{ini_path(oidc.client_secret_file)}}}",
        "auth_url": oidc.auth_url,
        "token_url": oidc.token_url,
        "api_url": oidc.userinfo_url,
        "scopes": " ".join(oidc.scopes),
        "use_pkce": "true",
        "use_refresh_token": "true",
        "login_attribute_path": oidc.username_claim,
        "email_attribute_path": oidc.email_claim,
        "allow_sign_up": _word(oidc.sign_up),
        **authority,
        **_roles(oidc),
    }


def _roles(sign_in: SignIn) -> Section:
    """Who may what. Nobody becomes Grafana's own administrator by what another system says."""
    section = {"allow_assign_grafana_admin": "false"}
    if sign_in.roles is None:
        return section | {"skip_org_role_sync": "true"}
    return section | {
        "skip_org_role_sync": "false",
        "role_attribute_path": role_expression(sign_in.roles),
        # Whom the expression gives no role is refused; otherwise Grafana would make everybody a viewer.
        "role_attribute_strict": "true",
    }


def role_expression(roles: Roles) -> str:
    """The highest role that fits, as JMESPath: `[claim][]` makes one list of a word, a list, or nothing."""
    parts = [
        f"({_any(roles.claim, values)}) && '{role}'"
        for role, values in (("Admin", roles.admin), ("Editor", roles.operator), ("Viewer", roles.viewer))
        if values
    ]
    return " || ".join([*parts, *(["'Viewer'"] if roles.others == "viewer" else [])])


def _any(claim: str, values: Iterable[str]) -> str:
    return " || ".join(f"contains([{claim}][], '{value}')" for value in values)


def _word(value: bool) -> str:  # noqa: FBT001 -- it is the value that is written
    return str(value).lower()
