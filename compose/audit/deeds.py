"""What a request to Grafana did, in words: a row for each way that people have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

SIGN_IN, PEOPLE, PERMISSIONS, SILENCES, PAGES, SOURCES, OTHER = (
    "sign-in", "people", "permissions", "silences", "pages", "data sources", "other",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deed:
    """A kind of request, and what to say of it; `{}` stands for what the path names."""

    kind: str
    method: str
    path: str
    words: str


_ID = "([^/]+)"
_KUBE = "/apis/{}[.]grafana[.]app/[^/]+/namespaces/[^/]+"
_FOLDER, _DASHBOARD = _KUBE.format("folder"), _KUBE.format("dashboard")
# The first that fits is meant.
_DEEDS = (
    Deed(SIGN_IN, "POST", "/login", "signed in"),
    Deed(SIGN_IN, "GET", f"/login/{_ID}", "went to sign in by {}"),
    Deed(SIGN_IN, "GET", "/logout", "signed out"),
    Deed(PEOPLE, "POST", "/api/admin/users", "made a user"),
    Deed(PEOPLE, "DELETE", f"/api/admin/users/{_ID}", "removed user {}"),
    Deed(PEOPLE, "PUT", f"/api/admin/users/{_ID}/password", "set the password of user {}"),
    Deed(PEOPLE, "POST", f"/api/admin/users/{_ID}/disable", "disabled user {}"),
    Deed(PEOPLE, "POST", f"/api/admin/users/{_ID}/enable", "enabled user {}"),
    Deed(PEOPLE, "POST", f"/api/admin/users/{_ID}/(?:logout|revoke-auth-token)", "signed user {} out"),
    Deed(PERMISSIONS, "PUT", f"/api/admin/users/{_ID}/permissions", "changed whether user {} administers Grafana"),
    Deed(PEOPLE, "POST", "/api/org/users|/api/orgs/[^/]+/users", "added a user"),
    Deed(PERMISSIONS, "PATCH", f"/api/org(?:s/[^/]+)?/users/{_ID}", "changed the role of user {}"),
    Deed(PEOPLE, "DELETE", f"/api/org(?:s/[^/]+)?/users/{_ID}", "removed user {}"),
    Deed(PEOPLE, "POST", "/api/org/invites", "invited somebody"),
    Deed(PEOPLE, "PUT", "/api/user/password", "changed their own password"),
    Deed(PEOPLE, "POST", "/api/user/password/reset", "set a new password by a code"),
    Deed(PEOPLE, "POST", "/api/user/password/.*", "asked for a new password"),
    Deed(PEOPLE, "GET", "/user/email/update", "confirmed a new address"),
    Deed(PEOPLE, "PUT", "/api/user", "changed their own name or address"),
    Deed(PEOPLE, "PUT", f"/api/users/{_ID}", "changed the name or address of user {}"),
    Deed(PERMISSIONS, "POST", "/api/serviceaccounts", "made a service account"),
    Deed(PERMISSIONS, "POST", f"/api/serviceaccounts/{_ID}/tokens", "made a token of service account {}"),
    Deed(PERMISSIONS, "DELETE", f"/api/serviceaccounts/{_ID}/tokens/.*", "removed a token of service account {}"),
    Deed(PERMISSIONS, "DELETE", f"/api/serviceaccounts/{_ID}", "removed service account {}"),
    Deed(PERMISSIONS, "*", f"/api/serviceaccounts/{_ID}.*", "changed service account {}"),
    Deed(PERMISSIONS, "POST", "/api/teams", "made a team"),
    Deed(PERMISSIONS, "DELETE", f"/api/teams/{_ID}", "removed team {}"),
    Deed(PERMISSIONS, "*", f"/api/teams/{_ID}/members.*", "changed who is in team {}"),
    Deed(PERMISSIONS, "*", f"/api/teams/{_ID}.*", "changed team {}"),
    Deed(PERMISSIONS, "POST", f"/api/folders/{_ID}/permissions", "changed who may see or edit folder {}"),
    Deed(PERMISSIONS, "POST", f"/api/dashboards/(?:uid|id)/{_ID}/permissions", "changed who may see or edit page {}"),
    Deed(PERMISSIONS, "*", "/api/access-control/(.+)", "changed rights: {}"),
    Deed(SILENCES, "POST", f"/api/alertmanager/{_ID}/api/v2/silences", "made or changed a silence in {}"),
    Deed(SILENCES, "DELETE", f"/api/alertmanager/[^/]+/api/v2/silence/{_ID}", "ended silence {}"),
    Deed(SILENCES, "POST", f"/api/alertmanager/{_ID}/api/v2/alerts", "sent alerts of their own to {}"),
    Deed(SILENCES, "*", "/api/(?:alertmanager|ruler|v1/provisioning)/(.+)", "changed alerting: {}"),
    Deed(PAGES, "POST", f"/api/folders|{_FOLDER}/folders", "made a folder"),
    Deed(PAGES, "DELETE", f"(?:/api|{_FOLDER})/folders/{_ID}", "removed folder {}"),
    Deed(PAGES, "*", f"(?:/api|{_FOLDER})/folders/{_ID}.*", "changed folder {}"),
    Deed(PAGES, "POST", f"/api/dashboards/(?:db|import)|{_DASHBOARD}/dashboards", "saved a page"),
    Deed(PAGES, "DELETE", f"(?:/api/dashboards/uid|{_DASHBOARD}/dashboards)/{_ID}", "removed page {}"),
    Deed(PAGES, "*", f"(?:/api/dashboards/(?:uid|id)|{_DASHBOARD}/dashboards)/{_ID}.*", "changed page {}"),
    Deed(SOURCES, "POST", "/api/datasources", "made a data source"),
    Deed(SOURCES, "DELETE", f"/api/datasources/(?:uid/|name/)?{_ID}", "removed data source {}"),
    Deed(SOURCES, "*", f"/api/datasources/(?:uid/)?{_ID}.*", "changed data source {}"),
)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def told(method: str, path: str) -> tuple[str, str] | None:
    """The kind and the words for a request; None for one that changes nothing.

    Letters may come in disguise (`%75sers`), and a slash may stand at the end: Grafana takes them for the same.
    """
    method = "GET" if method == "HEAD" else method  # Grafana does the same for it
    path = "/".join(unquote(part).replace("/", "%2F") for part in path.split("/"))
    if path != "/":
        path = path.removesuffix("/")
    for deed in _DEEDS:
        if deed.method not in (method, "*") or (deed.method == "*" and method in _READING):
            continue
        found = re.fullmatch(deed.path, path)
        if found:
            return deed.kind, deed.words.format(next(filter(None, found.groups()), ""))
    return None if method in _READING else (OTHER, f"{method} {path}")
