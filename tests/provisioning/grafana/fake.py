# ruff: noqa: N802, N803 -- methods and their arguments have the names that Grafana's description gives them
"""A Grafana of dictionaries: takes only what api.yml describes and answers as Grafana 12.2 was seen to."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from provisioning.grafana.passwords import weakness
from tests.provisioning.grafana.description import call_of

PASSWORD = "Administrators-own-1"
DEFAULT_GRANTS = [{"role": "Editor", "permission": 2}, {"role": "Viewer", "permission": 1}]


class Fake:
    """Its state is in plain attributes for tests to set and read."""

    def __init__(self) -> None:
        self.users: dict[int, dict[str, Any]] = {}
        self.teams: dict[int, dict[str, Any]] = {}
        self.members: dict[int, list[int]] = {}
        self.folders: dict[str, dict[str, Any]] = {}
        self.grants: dict[str, list[dict[str, Any]]] = {}
        self.accounts: dict[int, dict[str, Any]] = {}
        self.tokens: dict[int, list[dict[str, Any]]] = {}
        self.preferences: dict[str, Any] = {}
        self.pages = {"cluster-ai-dashboard"}
        self.passwords: dict[int, str] = {}
        self.signed_out: list[int] = []
        self.made: list[str] = []
        """Every call that changes something, as `METHOD path`."""
        self.refuses: Callable[[str], httpx.Response | None] = lambda _: None
        self._last = 0
        self.add_user("admin", role="Admin", email="admin@localhost")
        self.passwords[1] = PASSWORD
        self.folders["cluster-ai"] = {"uid": "cluster-ai", "title": "Cluster AI"}
        self.grants["cluster-ai"] = list(DEFAULT_GRANTS)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def add_user(self, login: str, **values: Any) -> int:
        number = self._new()
        self.users[number] = {
            "userId": number, "login": login.lower(), "name": login, "email": login.lower(), "role": "Viewer",
            "isDisabled": False, "authLabels": None, "isExternallySynced": False,
        } | values  # fmt: skip
        return number

    def add_team(self, name: str, email: str = "", members: tuple[int, ...] = ()) -> int:
        number = self._new()
        self.teams[number] = {"id": number, "name": name, "email": email}
        self.members[number] = list(members)
        return number

    def add_account(self, name: str, role: str = "Viewer") -> int:
        number = self._new()
        self.accounts[number] = {
            "id": number, "name": name, "login": f"sa-1-{name}", "role": role, "isDisabled": False,
        }  # fmt: skip
        self.tokens[number] = []
        return number

    def user(self, login: str) -> dict[str, Any]:
        return next(row for row in self.users.values() if row["login"] == login)

    def team(self, name: str) -> set[str]:
        """A team's members, by login."""
        number = next(row["id"] for row in self.teams.values() if row["name"] == name)
        return {self.users[member]["login"] for member in self.members[number]}

    def answer(self, request: httpx.Request) -> httpx.Response:
        call = call_of(request)
        kind, _, credential = request.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer":
            return self._of_bearer(credential)
        if base64.b64decode(credential).decode() != f"admin:{PASSWORD}":
            return refusal(401, "Invalid username or password")
        path = request.url.path.removeprefix("/api")
        said = self.refuses(f"{request.method} {path}")
        if said is not None:
            return said
        if request.method != "GET":
            self.made.append(f"{request.method} {path}")
        body = json.loads(request.content) if request.content else dict(request.url.params)
        found = getattr(self, f"_{call.says['id']}")(**call.values(path), body=body)
        if isinstance(found, httpx.Response):
            return found
        return httpx.Response(call.says.get("answers", 200), json={"message": "done"} if found is None else found)

    def _of_bearer(self, secret: str) -> httpx.Response:
        for number, tokens in self.tokens.items():
            if any(token["key"] == secret for token in tokens) and not self.accounts[number]["isDisabled"]:
                return httpx.Response(200, json={"login": self.accounts[number]["login"], "orgId": 1})
        return refusal(401, "Invalid API key")

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _getSignedInUser(self, body):
        return {"login": "admin", "orgId": 1}

    def _getOrgUsersForCurrentOrg(self, body):
        return list(self.users.values())

    def _adminCreateUser(self, body):
        if any(row["login"] == body["login"] or row["email"] == body.get("email") for row in self.users.values()):
            return refusal(412, f"User with email '{body.get('email')}' or username '{body['login']}' already exists")
        if weakness(body["password"], ""):
            return refusal(400, "New password doesn't comply with the password policy")
        number = self.add_user(body["login"], email=body.get("email") or body["login"])
        self.passwords[number] = body["password"]
        return {"id": number}

    def _updateOrgUserForCurrentOrg(self, user_id, body):
        others = [row for row in self.users.values() if row["role"] == "Admin" and row["userId"] != int(user_id)]
        if body["role"] != "Admin" and not others:
            return refusal(400, "Cannot change role so that there is no organization admin left")
        return self.users[int(user_id)].update(body)

    def _updateUser(self, user_id, body):
        return self.users[int(user_id)].update(body)

    def _adminDisableUser(self, user_id, body):
        return self.users[int(user_id)].update(isDisabled=True)

    def _adminEnableUser(self, user_id, body):
        return self.users[int(user_id)].update(isDisabled=False)

    def _adminUpdateUserPassword(self, user_id, body):
        self.passwords[int(user_id)] = body["password"]

    def _adminLogoutUser(self, user_id, body):
        self.signed_out.append(int(user_id))

    def _searchTeams(self, body):
        return {"teams": page_of(self.teams.values(), body)}

    def _createTeam(self, body):
        if any(row["name"] == body["name"] for row in self.teams.values()):
            return refusal(409, "Team name taken")
        return {"teamId": self.add_team(body["name"], body["email"], members=(1,))}

    def _updateTeam(self, team_id, body):
        return self.teams[int(team_id)].update(body)

    def _deleteTeamByID(self, team_id, body):
        del self.teams[int(team_id)], self.members[int(team_id)]

    def _getTeamMembers(self, team_id, body):
        return [{"userId": user, "login": self.users[user]["login"]} for user in self.members[int(team_id)]]

    def _addTeamMember(self, team_id, body):
        if body["userId"] in self.members[int(team_id)]:
            return refusal(400, "User is already added to this team")
        return self.members[int(team_id)].append(body["userId"])

    def _removeTeamMember(self, team_id, user_id, body):
        return self.members[int(team_id)].remove(int(user_id))

    def _getFolderByUID(self, folder_uid, body):
        return self.folders.get(folder_uid) or refusal(404, "folder not found")

    def _createFolder(self, body):
        if body["uid"] in self.folders:
            return refusal(412, "the folder has been changed by someone else")
        self.folders[body["uid"]] = body
        self.grants[body["uid"]] = [*DEFAULT_GRANTS, {"userId": 1, "permission": 4}]
        return body

    def _updateFolder(self, folder_uid, body):
        assert body["overwrite"]
        self.folders[folder_uid]["title"] = body["title"]

    def _getFolderPermissionList(self, folder_uid, body):
        names = {row["id"]: row["name"] for row in self.teams.values()}
        logins = {number: row["login"] for number, row in (self.users | self.accounts).items()}
        return [
            {
                "inherited": False,
                "role": "", "teamId": 0, "userId": 0,
                "team": names.get(grant.get("teamId"), ""),
                "userLogin": logins.get(grant.get("userId"), ""),
            } | grant
            for grant in self.grants[folder_uid]
        ]  # fmt: skip

    def _updateFolderPermissions(self, folder_uid, body):
        self.grants[folder_uid] = body["items"]

    def _getDashboardByUID(self, uid, body):
        return {} if uid in self.pages else refusal(404, "Dashboard not found")

    def _searchOrgServiceAccountsWithPaging(self, body):
        return {"serviceAccounts": page_of(self.accounts.values(), body)}

    def _createServiceAccount(self, body):
        return self.accounts[self.add_account(body["name"], body["role"])]

    def _updateServiceAccount(self, serviceAccountId, body):
        return self.accounts[int(serviceAccountId)].update(body)

    def _listTokens(self, serviceAccountId, body):
        hidden = {"key"}
        return [
            {key: value for key, value in token.items() if key not in hidden}
            for token in self.tokens[int(serviceAccountId)]
        ]

    def _createToken(self, serviceAccountId, body):
        number, now = self._new(), datetime.now(UTC)
        end = now + timedelta(seconds=body["secondsToLive"]) if "secondsToLive" in body else None
        key = f"glsa_{number}"
        token = {
            "id": number, "name": body["name"], "created": now.isoformat(), "hasExpired": False,
            "expiration": end and end.isoformat(), "key": key,
        }  # fmt: skip
        self.tokens[int(serviceAccountId)].append(token)
        return {"id": number, "key": key}

    def _deleteToken(self, serviceAccountId, tokenId, body):
        tokens = self.tokens[int(serviceAccountId)]
        tokens.remove(next(token for token in tokens if token["id"] == int(tokenId)))

    def _getOrgPreferences(self, body):
        return self.preferences

    def _patchOrgPreferences(self, body):
        if body.get("homeDashboardUID", "") not in self.pages | {""}:
            return refusal(404, "Dashboard not found")
        return self.preferences.update(body)


def page_of(rows: Iterable[dict[str, Any]], asked: dict[str, str]) -> list[dict[str, Any]]:
    size, page = int(asked["perpage"]), int(asked["page"])
    return list(rows)[size * (page - 1) : size * page]


def refusal(status: int, reason: str) -> httpx.Response:
    return httpx.Response(status, json={"message": reason})
