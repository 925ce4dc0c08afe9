"""What is wrong between folders, teams, service accounts and ways to sign in."""

from __future__ import annotations

from collections.abc import Iterator

from provisioning.config.grafana import OWN_FOLDERS
from provisioning.config.messages import did_you_mean, key_text
from provisioning.config.model import Config
from provisioning.config.problems import Problem, brief
from provisioning.config.yaml_file import Document, Key

ADMINISTRATOR = "admin"
OWN_TEAM = "cluster-ai.yml"
_ROLES = ("viewer", "operator")
_PAGES = "cluster-ai"

_Finding = tuple[Key, str, str]


def grafana_errors(config: Config, document: Document) -> list[Problem]:
    """Names that stand for nothing or for two things, and people who could not sign in."""
    return _problems([*_folders(config), *_accounts(config), *_names_of_ours(config), *_no_way_in(config)], document)


def grafana_warnings(config: Config, document: Document) -> list[Problem]:
    """What works on this machine alone."""
    return _problems(list(_sent_back(config)), document)


def _problems(findings: list[_Finding], document: Document) -> list[Problem]:
    return [
        Problem(document.line_of(key), message, hint, key_text(key, document.data)) for key, message, hint in findings
    ]


def _folders(config: Config) -> Iterator[_Finding]:
    teams = [team.name for team in config.teams]
    seen: set[str] = set()
    for index, folder in enumerate(config.grafana.folders):
        at: Key = ("grafana", "folders", index)
        if folder.name in OWN_FOLDERS:
            yield (*at, "name"), f"{brief(folder.name)} is a folder of the product's own", "choose another name"
        elif folder.name in seen:
            yield (*at, "name"), f"{brief(folder.name)} is listed twice", "put everything about it in one entry"
        seen.add(folder.name)
        for key in ("view", "edit"):
            for place, name in enumerate(getattr(folder, key)):
                if name == "admin":
                    yield (*at, key, place), "admins may see and edit every folder", "leave it out"
                elif name not in (*_ROLES, *teams):
                    yield (*at, key, place), f"{brief(name)} is no role or team", did_you_mean(name, [*_ROLES, *teams])


def _accounts(config: Config) -> Iterator[_Finding]:
    folders = [_PAGES, *(folder.name for folder in config.grafana.folders)]
    names: set[str] = set()
    files = set()
    for index, account in enumerate(config.grafana.service_accounts):
        at: Key = ("grafana", "service_accounts", index)
        if account.name in names:
            yield (*at, "name"), f"{brief(account.name)} is listed twice", "put everything about it in one entry"
        if account.write_token_to in files:
            yield (*at, "write_token_to"), f"two tokens cannot go to {account.write_token_to}", "give each its own file"
        names.add(account.name)
        files.add(account.write_token_to)
        for key in ("view", "edit"):
            for place, name in enumerate(getattr(account, key)):
                if name not in folders:
                    yield (*at, key, place), f"there is no folder {brief(name)}", did_you_mean(name, folders)
                elif key == "edit" and name == _PAGES:
                    yield (*at, key, place), "the pages are made from files", "put them in `view`; nobody edits them"


def _names_of_ours(config: Config) -> Iterator[_Finding]:
    for index, person in enumerate(config.people):
        if person.name.lower() == ADMINISTRATOR:
            hint = "give the person another name, and the role admin"
            yield ("people", index, "name"), f"{brief(person.name)} is Grafana's own administrator", hint
    for index, team in enumerate(config.teams):
        if team.name == OWN_TEAM:
            hint = "choose another name; it marks in Grafana who comes from this file"
            yield ("teams", index, "name"), f"{brief(team.name)} is the product's own team", hint


def _no_way_in(config: Config) -> Iterator[_Finding]:
    if not config.grafana.passwords and config.grafana.jwt is None and config.grafana.oidc is None:
        yield ("grafana", "passwords"), "nobody could sign in", "give grafana.jwt or grafana.oidc, or leave it out"


def _sent_back(config: Config) -> Iterator[_Finding]:
    if config.grafana.oidc and config.grafana.url is None:
        message = f"the provider sends people back to {config.grafana_url}, which is this machine"
        yield ("grafana", "oidc"), message, "give grafana.url, where people reach Grafana"
