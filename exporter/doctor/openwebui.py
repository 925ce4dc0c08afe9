"""Open WebUI servers: the API key, who may come in, and what this installation tells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast

from exporter.collectors import openwebui_public as public
from exporter.collectors.openwebui import OpenWebUICollector
from exporter.collectors.openwebui_access import GATE, PATHS, KeyState, state_of
from exporter.collectors.openwebui_answers import is_missing, version_of
from exporter.collectors.openwebui_usage import SUMMARY
from exporter.discover import What
from exporter.doctor import clocks, reach
from exporter.doctor.exam import Check, Exam, Visit
from exporter.doctor.findings import Finding, Kind, error, info, warning
from exporter.errors import CollectError, Reason
from provisioning.config.targets import OpenWebUITarget

NO_KEY = info(
    "openwebui-no-key",
    "No api_key_file is configured: people, messages, models and backends are not read.",
    "make an API key as an administrator (Settings, Account), put it into a file, and name it as api_key_file",
)
KEY_INVALID = error(
    "openwebui-key-invalid",
    "Open WebUI does not know the API key: it was deleted, replaced, or copied wrongly.",
    "make a new one as an administrator (Settings, Account) and put it into api_key_file",
)
KEY_NOT_ADMIN = error(
    "openwebui-key-not-admin",
    "The API key belongs to somebody who is not an administrator.",
    "use the key of an administrator, best of one made for monitoring",
)
KEY_DISABLED = error(
    "openwebui-key-disabled",
    "Open WebUI accepts no API keys; that is its default since 0.6.37.",
    "set ENABLE_API_KEYS=true there (Admin Settings, General)",
)
KEY_RESTRICTED = error(
    "openwebui-key-restricted",
    "API keys may use certain paths only, and ours are not among them.",
    f"allow these in API_KEYS_ALLOWED_ENDPOINTS: {','.join(PATHS)}",
)
OLD = info(
    "openwebui-old",
    "This version does not tell all that newer ones do: readiness (0.8.11), usage by model (0.8.0).",
    "take a newer Open WebUI if you want these numbers",
)
ANALYTICS_OFF = warning(
    "openwebui-analytics-off",
    "Usage analytics are switched off: messages, tokens and chats have no series.",
    "set ENABLE_ADMIN_ANALYTICS=true there, or do without these numbers",
)
ONBOARDING = warning(
    "openwebui-onboarding",
    "There is no user yet: the next visitor becomes the administrator.",
    "sign up yourself, now",
)
AUTH_OFF = warning(
    "openwebui-auth-off",
    "WEBUI_AUTH is off: every visitor is let in as administrator.",
    "set WEBUI_AUTH=true, or let nobody else reach the port",
)
SIGNUP_OPEN = warning(
    "openwebui-signup-open",
    "Any visitor may register an account.",
    "switch new sign-ups off (Admin Settings, General; ENABLE_SIGNUP=false), or leave their default role at `pending`",
)

_ANALYTICS_SINCE = (0, 8, 0)
_PUBLIC_PARTS = {"health", "ready", "config"}
_KEYED_PARTS = set(OpenWebUICollector.part_names) - _PUBLIC_PARTS
_KEY_KINDS: dict[KeyState, Kind] = {
    KeyState.INVALID: KEY_INVALID,
    KeyState.NOT_ADMIN: KEY_NOT_ADMIN,
    KeyState.DISABLED: KEY_DISABLED,
    KeyState.RESTRICTED: KEY_RESTRICTED,
}
_DOORS: dict[str, tuple[float, Kind, str]] = {
    "openwebui_onboarding_pending": (1.0, ONBOARDING, "no user exists"),
    "openwebui_auth_enabled": (0.0, AUTH_OFF, "authentication is switched off"),
    "openwebui_signup_open": (1.0, SIGNUP_OPEN, "the sign-up form is open"),
}


class OpenWebUIExam(Exam):
    """One Open WebUI server."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        self._target = cast("OpenWebUITarget", visit.target)
        self._http = visit.wires.http(self._target)

    async def knock(self) -> list[Finding]:
        """Whether an Open WebUI answers at the address."""
        timeout = self._target.timeout
        try:
            self.visit.version, _ = await public.version(self._http, timeout)
        except CollectError as failure:
            return await reach.why(failure, self.visit.address, self._target, What.OPENWEBUI, timeout=timeout)
        self.answered = True
        return []

    def checks(self) -> Mapping[str, Check]:
        """What else is looked at."""
        return {
            "certificate": partial(reach.certificate, self.visit, self._target),
            "clock": partial(clocks.check, self._http, public.VERSION, self.visit.clock, timeout=self._target.timeout),
            "version": self._version,
            "doors": self._doors,
            "API key": self._key,
        }

    async def _version(self) -> list[Finding]:
        number = version_of(self.visit.version)
        since = ((_ANALYTICS_SINCE, "usage by model"), (public.READY_SINCE, "readiness"))
        missing = [what for version, what in since if number is not None and number < version]
        if not missing:
            return []
        return [OLD.found(f"Open WebUI {self.visit.version} does not tell {' and '.join(missing)}")]

    async def _doors(self) -> list[Finding]:
        families = public.doors(await self._http.json(public.CONFIG, timeout=self._target.timeout))
        values = {family.name: value for family in families for _, value in family.samples}
        pending = values.get("openwebui_onboarding_pending") == 1.0
        return [
            kind.found(f"{self.visit.address}: {seen}")
            for name, (bad, kind, seen) in _DOORS.items()
            # While nobody is there, the form must be open: one finding says enough.
            if values.get(name) == bad and not (pending and kind is SIGNUP_OPEN)
        ]

    async def _key(self) -> list[Finding]:
        if self._target.api_key_file is None:
            return [NO_KEY.found("no api_key_file")]
        try:
            answer = await self._http.ask(GATE, key=True, timeout=self._target.timeout)
        except CollectError as failure:
            if failure.reason is Reason.SECRET:
                self.visit.explained |= _KEYED_PARTS  # the check of the files says why
                return []
            raise
        state = state_of(answer)
        if state is KeyState.OK:
            return await self._analytics()
        if state not in _KEY_KINDS:
            return []  # not Open WebUI's word on keys; the collection says what it was
        self.visit.explained |= _KEYED_PARTS
        return [_KEY_KINDS[state].found(f"{GATE} answered {answer.status}")]

    async def _analytics(self) -> list[Finding]:
        number = version_of(self.visit.version)
        if number is not None and number < _ANALYTICS_SINCE:
            return []
        if not is_missing(await self._http.ask(SUMMARY, key=True, timeout=self._target.timeout)):
            return []
        return [ANALYTICS_OFF.found(f"Open WebUI {self.visit.version} has no {SUMMARY}")]
