"""The calls to Grafana's HTTP API that `apply` makes, one method each, and what its answers mean."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from provisioning.config.problems import printable

PATIENCE = 10.0  # s for one call
_PAGE = 1000  # rows asked for at once
_LONGEST = 300  # characters of a reason


class GrafanaError(Exception):
    """Nothing more can be done with this Grafana; `str()` says why, for people."""


class NotDoneError(Exception):
    """One thing could not be done; `str()` says why, for people."""


class RefusedError(NotDoneError):
    """Grafana refused one call; `str()` is its reason, for people."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"{reason} (HTTP {status})")


class Api:
    """A Grafana, asked as its administrator. To be closed, or used in `with`."""

    def __init__(
        self,
        url: str,
        login: str,
        password: str,
        transport: httpx.BaseTransport | None = None,
        *,
        host: str | None = None,
    ) -> None:
        """`host` is the name that Grafana wants to be asked by, where it is reached under another."""
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/api",
            auth=(login, password),
            headers={"Host": host} if host else None,
            timeout=PATIENCE,
            transport=transport,
            # A proxy for the world outside is not for this machine, and knows nothing of it.
            trust_env=httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1"),
        )
        self._url = url
        self._login = login

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def me(self) -> dict[str, Any]:
        """The administrator as whom we ask."""
        found: dict[str, Any] = self._call("GET", "/user")
        return found

    # People

    def users(self) -> list[dict[str, Any]]:
        """Everybody in the organization; service accounts are not among them."""
        return self._list("GET", "/org/users")

    def make_user(self, login: str, email: str | None, password: str, organization: int) -> int:
        """A new user with that password; Grafana gives the id."""
        body: dict[str, Any] = {"login": login, "name": login, "password": password, "orgId": organization}
        body |= {"email": email} if email else {}
        return int(self._call("POST", "/admin/users", body)["id"])

    def set_role(self, user: int, role: str) -> None:
        """What somebody may do in the organization."""
        self._call("PATCH", f"/org/users/{user}", {"role": role})

    def set_email(self, user: int, login: str, name: str, email: str) -> None:
        """Somebody's address; the rest is said again because Grafana sets it all."""
        self._call("PUT", f"/users/{user}", {"login": login, "name": name, "email": email})

    def set_password(self, user: int, password: str) -> None:
        """A new password; Grafana ends that user's sessions."""
        self._call("PUT", f"/admin/users/{user}/password", {"password": password})

    def set_own_password(self, old: str, new: str) -> None:
        """A new password for the one as whom we ask, who stays signed in."""
        self._call("PUT", "/user/password", {"oldPassword": old, "newPassword": new, "confirmNew": new})

    def sign_out(self, user: int) -> None:
        """Ends somebody's sessions everywhere."""
        self._call("POST", f"/admin/users/{user}/logout")

    def disable(self, user: int) -> None:
        """Keeps somebody out and ends their sessions; what they made stays."""
        self._call("POST", f"/admin/users/{user}/disable")

    def enable(self, user: int) -> None:
        """Lets somebody in again."""
        self._call("POST", f"/admin/users/{user}/enable")

    # Teams

    def teams(self) -> list[dict[str, Any]]:
        """All teams."""
        return self._pages("/teams/search", "teams")

    def make_team(self, name: str, mark: str) -> int:
        """A new team; who makes it is its first member."""
        return int(self._call("POST", "/teams", {"name": name, "email": mark})["teamId"])

    def mark_team(self, team: int, name: str, mark: str) -> None:
        """Sets a team's address, which is where we keep our mark."""
        self._call("PUT", f"/teams/{team}", {"name": name, "email": mark})

    def delete_team(self, team: int) -> None:
        """Deletes a team and its rights."""
        self._call("DELETE", f"/teams/{team}")

    def members(self, team: int) -> list[dict[str, Any]]:
        """A team's members."""
        return self._list("GET", f"/teams/{team}/members")

    def add_member(self, team: int, user: int) -> None:
        """Makes somebody a member."""
        self._call("POST", f"/teams/{team}/members", {"userId": user})

    def remove_member(self, team: int, user: int) -> None:
        """Takes somebody out of a team."""
        self._call("DELETE", f"/teams/{team}/members/{user}")

    # Folders

    def folder(self, uid: str) -> dict[str, Any] | None:
        """A folder; None when there is none."""
        return self._optional(f"/folders/{uid}")

    def make_folder(self, uid: str, title: str) -> None:
        """A new folder at the top."""
        self._call("POST", "/folders", {"uid": uid, "title": title})

    def name_folder(self, uid: str, title: str) -> None:
        """What people read."""
        self._call("PUT", f"/folders/{uid}", {"title": title, "overwrite": True})

    def permissions(self, uid: str) -> list[dict[str, Any]]:
        """Who may do what in a folder."""
        return self._list("GET", f"/folders/{uid}/permissions")

    def set_permissions(self, uid: str, items: list[dict[str, Any]]) -> None:
        """Replaces everything that `permissions` gives."""
        self._call("POST", f"/folders/{uid}/permissions", {"items": items})

    def page(self, uid: str) -> dict[str, Any] | None:
        """A page; None when there is none."""
        return self._optional(f"/dashboards/uid/{uid}")

    # Service accounts

    def accounts(self) -> list[dict[str, Any]]:
        """All service accounts."""
        return self._pages("/serviceaccounts/search", "serviceAccounts")

    def make_account(self, name: str, role: str) -> dict[str, Any]:
        """A new service account."""
        made: dict[str, Any] = self._call("POST", "/serviceaccounts", {"name": name, "role": role})
        return made

    def set_account(self, account: int, **values: str | bool) -> None:
        """Changes `role` or `isDisabled`; a disabled account's tokens are refused."""
        self._call("PATCH", f"/serviceaccounts/{account}", values)

    def tokens(self, account: int) -> list[dict[str, Any]]:
        """An account's tokens, without their secret."""
        return self._list("GET", f"/serviceaccounts/{account}/tokens")

    def make_token(self, account: int, name: str, lifetime: float | None) -> tuple[int, str]:
        """A new token: its id, and the secret, which Grafana does not give again."""
        body: dict[str, Any] = {"name": name} | ({"secondsToLive": int(lifetime)} if lifetime else {})
        made = self._call("POST", f"/serviceaccounts/{account}/tokens", body)
        return int(made["id"]), str(made["key"])

    def delete_token(self, account: int, token: int) -> None:
        """Makes a token useless at once."""
        self._call("DELETE", f"/serviceaccounts/{account}/tokens/{token}")

    def owner_of(self, token: str) -> str | None:
        """The login of the service account whose token this is; None when Grafana does not take it."""
        try:
            # Not a bearer of the client's own: its password must not go along.
            answer = self._client.get("/user", headers={"Authorization": f"Bearer {token}"}, auth=_as_given)
        except httpx.TransportError as error:
            raise self._gone(error) from None
        return str(answer.json()["login"]) if answer.status_code == httpx.codes.OK else None

    # Preferences

    def preferences(self) -> dict[str, Any]:
        """The organization's; keys that are not set are not there."""
        found: dict[str, Any] = self._call("GET", "/org/preferences")
        return found

    def set_preferences(self, values: dict[str, str]) -> None:
        """Sets these and leaves the others."""
        self._call("PATCH", "/org/preferences", values)

    def _pages(self, path: str, key: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = len(rows) // _PAGE + 1
            answer = self._call("GET", path, query={"perpage": _PAGE, "page": page})
            rows.extend(answer[key])
            if len(answer[key]) < _PAGE:
                return rows

    def _list(self, method: str, path: str) -> list[dict[str, Any]]:
        return list(self._call(method, path) or ())

    def _optional(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._call("GET", path)
        except RefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return found

    def _call(self, method: str, path: str, body: Any = None, query: dict[str, int] | None = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body, params=query)
        except httpx.TransportError as error:
            raise self._gone(error) from None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise GrafanaError(f"Grafana at {self._url} does not let {self._login} in: {_reason(answer)}")
        if not answer.is_success:
            raise RefusedError(answer.status_code, _reason(answer))
        try:
            return answer.json()
        except ValueError:
            raise GrafanaError(f"what answers at {self._url} is not a Grafana") from None

    def _gone(self, error: httpx.TransportError) -> GrafanaError:
        return GrafanaError(f"Grafana does not answer at {self._url}: {printable(str(error)) or type(error).__name__}")


def _as_given(request: httpx.Request) -> httpx.Request:
    return request


def _reason(answer: httpx.Response) -> str:
    """What Grafana says of a refusal."""
    try:
        said = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.reason_phrase or "no reason given"
    return printable(" ".join(said.split()))[:_LONGEST]
