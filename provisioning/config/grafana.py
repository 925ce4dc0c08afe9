"""What `cluster-ai.yml` says of Grafana, where people see the pages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from provisioning.config.basics import Duration, FilePath, FolderName, HttpUrl, Name, Strict, Switch, ZoneName
from provisioning.config.sign_in import Jwt, Oidc, Plain

GRAFANA_LANGUAGES = {"en": "en-US", "pt": "pt-BR"}
"""Our languages as Grafana names them."""
OWN_FOLDERS = frozenset({"cluster-ai", "gate-operator"})
"""Folders of the product itself: the pages, and the one that only operators may see."""


class Folder(Strict):
    """A folder for pages of your own, and who may see it. Folders are never deleted."""

    name: FolderName = Field(description="Its uid, as links and `cluster-ai grafana apply` call it.")
    title: Plain | None = Field(None, description="What people read; left out, the name.")
    view: list[Name] = Field(
        ["viewer", "operator"],
        description="Roles (`viewer`, `operator`) and teams that may see what is in it; admins always may.",
    )
    edit: list[Name] = Field(default_factory=list, description="Roles and teams that may also change what is in it.")


class ServiceAccount(Strict):
    """A program that asks Grafana with a token of its own."""

    name: Name = Field(description="What Grafana calls it; unique among service accounts.")
    role: Literal["none", "viewer", "operator", "admin"] = Field(
        "viewer", description="What it may do; `none` sees the folders below and nothing else."
    )
    view: list[FolderName] = Field(
        default_factory=list, description="Folders it may see beyond its role; `cluster-ai` has the pages."
    )
    edit: list[FolderName] = Field(default_factory=list, description="Folders of your own that it may change.")
    write_token_to: FilePath = Field(description="File that `cluster-ai grafana apply` puts the token in, mode 600.")
    expires: Duration | None = Field(
        None, ge=3600, description="How long a token is good for; `apply` makes a new one in its last third."
    )


class Grafana(Strict):
    """The pages' own address, their people's rights, and how they look at first."""

    url: HttpUrl | None = Field(
        None,
        description="Where people reach Grafana, such as https://monitoring.example.org: the links in messages begin "
        "with it. Left out, it is where Grafana listens, which other machines cannot reach.",
    )
    language: Literal["en", "pt"] = Field(
        "en", description="Of the pages and of Grafana itself; `pt` is the Portuguese of Brazil."
    )
    theme: Literal["dark", "light", "system"] = Field(
        "dark", description="Until somebody chooses another; `system` follows each person's computer."
    )
    timezone: ZoneName = Field(
        "browser", description="In which times are shown: `browser`, `utc`, or one such as America/Sao_Paulo."
    )
    home: FolderName = Field("cluster-ai-dashboard", description="Uid of the page that people see first.")
    passwords: Switch = Field(
        True,
        description="Whether `people` sign in with a password of their own; `false` leaves signing in to `jwt` or "
        "`oidc` and makes no users.",
    )
    folders: list[Folder] = Field(default_factory=list, description="Folders for pages of your own.")
    service_accounts: list[ServiceAccount] = Field(
        default_factory=list, description="Programs that may ask Grafana, each with a token."
    )
    jwt: Jwt | None = Field(None, description="Sign-in by a token that a proxy before Grafana adds to each request.")
    oidc: Oidc | None = Field(None, description="Sign-in at your own OpenID Connect provider.")
