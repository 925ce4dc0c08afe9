"""Signing in to Grafana without a password of its own: a proxy's token (JWT), or an OpenID Connect provider."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from provisioning.config.addresses import http_url
from provisioning.config.basics import (
    CLAIM_PATTERN,
    HEADER_PATTERN,
    HTTP_PATTERN,
    PLAIN_PATTERN,
    FilePath,
    Strict,
    Switch,
)
from provisioning.config.problems import brief

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Claim = Annotated[str, StringConstraints(pattern=CLAIM_PATTERN)]
Plain = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PLAIN_PATTERN)]


def _endpoint(value: object) -> str:
    """The address as it is written: a provider may insist on the slash at its end."""
    http_url(value)
    text = str(value)
    if not text.startswith("https://") and urlsplit(text).hostname not in _LOOPBACK:
        raise ValueError(f"{brief(text)} is not encrypted; sign-in needs an address that begins with https://")
    return text


def _keys_url(value: object) -> str:
    """An address that Grafana reads keys from, which it does through TLS alone."""
    http_url(value)
    text = str(value)
    if not text.startswith("https://"):
        raise ValueError(f"{brief(text)} is not encrypted; Grafana reads keys from https:// alone, or give keys_file")
    return text


_AS_URL = WithJsonSchema({"type": "string", "format": "uri", "pattern": HTTP_PATTERN})
Endpoint = Annotated[Plain, BeforeValidator(_endpoint), _AS_URL]
KeysUrl = Annotated[Plain, BeforeValidator(_keys_url), _AS_URL]


class Roles(Strict):
    """Who gets which role, by what the sign-in says of them. The highest role that fits counts."""

    claim: Claim = Field(description="Where it says so: a claim that is a list or a word, such as `groups`.")
    admin: list[Plain] = Field(default_factory=list, description="Values that make an admin.")
    operator: list[Plain] = Field(default_factory=list, description="Values that make an operator.")
    viewer: list[Plain] = Field(default_factory=list, description="Values that make a viewer.")
    others: Literal["viewer", "refused"] = Field("refused", description="What everybody else is.")

    @model_validator(mode="after")
    def _somebody(self) -> Roles:
        if not (self.admin or self.operator or self.viewer or self.others == "viewer"):
            raise ValueError("roles give nobody a role; list values under admin, operator or viewer")
        return self


class SignIn(Strict):
    """What both ways have in common."""

    username_claim: Claim = Field("preferred_username", description="The claim with the name in Grafana.")
    email_claim: Claim = Field("email", description="The claim with the e-mail address.")
    sign_up: Switch = Field(True, description="Whether somebody new gets a user at the first visit.")
    roles: Roles | None = Field(
        None, description="Roles by a claim, set anew at each sign-in. Left out, `people` say the role, else viewer."
    )


class Jwt(SignIn):
    """A signed token in a header of each request, from a proxy that has let the person in. Give one of the keys."""

    header: Annotated[str, StringConstraints(pattern=HEADER_PATTERN)] = Field(
        "X-JWT-Assertion", description="The header. The proxy must drop what a client sends in it."
    )
    issuer: Plain = Field(description="Who signs: the token's `iss`, such as https://login.example.org.")
    audience: Plain = Field(
        description="For whom: the token's `aud`, so that one meant for another service is refused."
    )
    public_key_file: FilePath | None = Field(None, description="The issuer's public key (PEM).")
    keys_file: FilePath | None = Field(None, description="The issuer's public keys as a JWK set (JSON).")
    keys_url: KeysUrl | None = Field(None, description="Where the issuer shows its JWK set; https:// only.")

    @model_validator(mode="after")
    def _one_key(self) -> Jwt:
        given = [key for key in (self.public_key_file, self.keys_file, self.keys_url) if key is not None]
        if len(given) != 1:
            raise ValueError(f"one key is needed, not {len(given)}; give public_key_file, keys_file or keys_url")
        return self


class Oidc(SignIn):
    """A button on the sign-in page that leads to your provider. There, allow `<url>/login/generic_oauth`."""

    label: Plain = Field("single sign-on", description="What the button says after `Sign in with`.")
    client_id: Plain = Field(description="As the provider knows this Grafana.")
    client_secret_file: FilePath = Field(description="File with the secret that the provider gave.")
    auth_url: Endpoint = Field(description="The provider's `authorization_endpoint`.")
    token_url: Endpoint = Field(description="The provider's `token_endpoint`.")
    userinfo_url: Endpoint = Field(description="The provider's `userinfo_endpoint`.")
    scopes: list[Plain] = Field(
        ["openid", "profile", "email"],
        description="What to ask for; add `offline_access` where the provider gives refresh tokens only then.",
    )
    ca_file: FilePath | None = Field(None, description="Authority that signs the provider's certificate (PEM).")
