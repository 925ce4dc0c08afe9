"""Open WebUI's API key: what the server says to it, and what the operator should do about that.

Open WebUI (utils/auth.py) answers an unknown key and a key of somebody who is no administrator both with 401, and keys
that are switched off and keys that may not use this path both with 403; only the sentence tells them apart.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from exporter.collectors.base import Answer, Http
from exporter.collectors.openwebui_answers import content, detail, mapping
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, gauge

# Small, and for administrators only in every version tried (0.6.36, 0.8.5, 0.12.4); /api/tasks was any user's in 0.8.
GATE = "/api/v1/evaluations/config"
TASKS = "/api/tasks"
# Every path that is asked with the key, as API_KEYS_ALLOWED_ENDPOINTS wants them: it matches whole path segments.
PATHS = (
    TASKS,
    "/api/models",
    "/api/usage",
    "/api/v1/users",
    "/api/v1/auths",
    "/api/v1/groups",
    "/api/v1/analytics",
    "/api/v1/evaluations",
    "/ollama/config",
    "/ollama/api/version",
    "/openai/config",
    "/openai/models",
)


class KeyState(StrEnum):
    """What Open WebUI makes of our API key. Label values."""

    OK = "ok"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    INVALID = "invalid"
    NOT_ADMIN = "not_admin"
    DISABLED = "disabled"
    RESTRICTED = "restricted"


_ADVICE = {
    KeyState.INVALID: "does not know the API key; make one as an administrator (Settings, Account) "
    "and put it in api_key_file",
    KeyState.NOT_ADMIN: "accepts the API key, but its owner is not an administrator; use the key of an administrator",
    KeyState.DISABLED: "does not accept API keys; set ENABLE_API_KEYS=true there (ENABLE_API_KEY before 0.6.37; "
    "Admin Settings, General) and use the key of an administrator who may have API keys",
    KeyState.RESTRICTED: "does not let API keys use this path; allow these in API_KEYS_ALLOWED_ENDPOINTS: "
    + ",".join(PATHS),
}
# With these no other question would be answered either.
_SHUT = frozenset({KeyState.UNREADABLE, KeyState.INVALID, KeyState.NOT_ADMIN, KeyState.DISABLED})


def state_of(answer: Answer) -> KeyState | None:
    """What an administrator's path said to the key; None when the answer is not Open WebUI's word on keys."""
    if answer.status == 200:  # noqa: PLR2004
        return KeyState.OK
    sentence = detail(answer).lower()
    if answer.status == 403 and sentence:  # noqa: PLR2004
        return KeyState.DISABLED if "api key" in sentence else KeyState.RESTRICTED
    if answer.status == 401 and sentence:  # noqa: PLR2004
        return KeyState.NOT_ADMIN if "permission" in sentence else KeyState.INVALID
    return None


def refusal(answer: Answer, path: str) -> CollectError:
    """The error for an answer that is not 200."""
    reasons = {401: Reason.UNAUTHORIZED, 403: Reason.FORBIDDEN, 404: Reason.NOT_FOUND, 429: Reason.RATE_LIMITED}
    state = state_of(answer)
    reason = reasons.get(answer.status)
    if reason is None:
        reason = Reason.SERVER_ERROR if answer.status >= 500 else Reason.CLIENT_ERROR  # noqa: PLR2004
    if state in _ADVICE:
        return CollectError(reason, f"{path}: Open WebUI {_ADVICE[state]}")
    if reason in (Reason.UNAUTHORIZED, Reason.FORBIDDEN):
        what = f"refused with status {answer.status} by something in front of Open WebUI; check its user or token"
        return CollectError(reason, f"{path}: {what}")
    return CollectError(reason, f"{path}: status {answer.status}; see Open WebUI's own log")


class Access:
    """Calls with the API key, and what Open WebUI thought of it at this collection."""

    def __init__(self, http: Http, *, configured: bool) -> None:
        self.configured = configured
        self._http = http
        self._state: KeyState | None = None
        self._forbidden: set[str] = set()  # paths; kept, because not every collection asks all of them

    @property
    def shut(self) -> bool:
        """Whether no call with this key can succeed."""
        return self._state in _SHUT

    def forget(self) -> None:
        """Begin a collection: what was true of the key may no longer be."""
        self._state = None if self.configured else KeyState.ABSENT

    async def check(self, timeout: float) -> None:
        """Ask an administrator's small question, which tells the state of the key. Raises CollectError."""
        try:
            answer = await self._http.ask(GATE, key=True, timeout=timeout)
        except CollectError as error:
            if error.reason is Reason.SECRET:
                self._state = KeyState.UNREADABLE
            raise
        self._state = state_of(answer)
        if self._state is not KeyState.OK:
            raise refusal(answer, GATE)
        if not isinstance(content(answer), dict):
            self._state = None
            raise CollectError(Reason.NOT_JSON, f"{GATE} answered no JSON object; is this the right system?")

    async def running_tasks(self) -> Family:
        """How many answers are being generated. Raises CollectError."""
        tasks = mapping(await self.json(TASKS), TASKS).get("tasks")
        family = gauge(
            "openwebui_tasks_running",
            "Answers being generated right now. Without Redis this is one server process's share.",
        )
        family.add(float(len(tasks)) if isinstance(tasks, list) else None)
        return family

    async def ask(self, path: str, *, timeout: float | None = None) -> Answer:
        """The answer to a call with the key, whatever its status. Raises CollectError."""
        return await self._http.ask(path, key=True, timeout=timeout)

    async def json(self, path: str) -> Any:
        """The decoded 200 of a call with the key. Raises CollectError; a restricted path says how to allow it."""
        try:
            found = await self._http.json(path, key=True)
        except CollectError as error:
            if error.reason is Reason.FORBIDDEN:
                self._forbidden.add(path)
                raise CollectError(error.reason, f"{path}: Open WebUI {_ADVICE[KeyState.RESTRICTED]}") from None
            raise
        self._forbidden.discard(path)
        return found

    def status(self) -> Family:
        """The state set of the key; no series while nothing is known."""
        family = gauge(
            "openwebui_api_key_status",
            "1 for what Open WebUI makes of the API key, 0 for the others: ok; absent (none configured, public part "
            "only); unreadable (api_key_file); invalid; not_admin; disabled (ENABLE_API_KEYS is off); restricted "
            "(API_KEYS_ALLOWED_ENDPOINTS). No series while Open WebUI does not answer.",
        )
        now = KeyState.RESTRICTED if self._state is KeyState.OK and self._forbidden else self._state
        if now is not None:
            for state in KeyState:
                family.add(float(state is now), Labels(status=state))
        return family
