"""What Open WebUI tells everybody: health, version, readiness, and how open its doors are. No key is sent."""

from __future__ import annotations

import asyncio
from typing import Any

from exporter.collectors.base import Answer, Http
from exporter.collectors.openwebui_answers import Version, content, detail, is_missing, mapping, version_of
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, gauge

HEALTH = "/health"
VERSION = "/api/version"
READY = "/ready"
CONFIG = "/api/config"
READY_SINCE: Version = (0, 8, 11)
# The sentences of /ready in main.py.
_PARTS = {
    "startup not complete": "startup",
    "database not ready": "database",
    "redis not ready": "redis",
}


async def version(http: Http, timeout: float) -> tuple[str, Version | None]:
    """The version, once Open WebUI has answered as itself within `timeout` s. Raises CollectError.

    Both answers are needed: Ollama has an `/api/version` too, and many systems a `/health`.
    """
    health, named = await asyncio.gather(http.json(HEALTH, timeout=timeout), http.json(VERSION, timeout=timeout))
    text = mapping(named, VERSION).get("version")
    if mapping(health, HEALTH).get("status") is not True or not isinstance(text, str):
        raise CollectError(Reason.SHAPE, f"{HEALTH} and {VERSION} do not answer as Open WebUI; is this its address?")
    return text, version_of(text)


def info(text: str) -> Family:
    """The version as a label."""
    family = gauge("openwebui_info", "Always 1; its label says which version of Open WebUI runs.")
    family.add(1.0, Labels(version=text))
    return family


def ready(answer: Answer, number: Version | None) -> list[Family]:
    """Readiness from `/ready`; nothing from a version that has no such route. Raises CollectError."""
    if is_missing(answer) and number is not None and number < READY_SINCE:
        return []
    whole = gauge(
        "openwebui_ready", "1 when Open WebUI can serve people (0.8.11 and later), 0 when a part of it is not ready."
    )
    first = gauge(
        "openwebui_not_ready",
        "1 for the first part of Open WebUI that is not ready (startup, database, redis, unknown), 0 for the others.",
    )
    missing: str | None = None
    if answer.status == 503 and detail(answer):  # noqa: PLR2004
        missing = _PARTS.get(detail(answer).lower(), "unknown")
    elif answer.status != 200:  # noqa: PLR2004
        reason = Reason.SERVER_ERROR if answer.status >= 500 else Reason.CLIENT_ERROR  # noqa: PLR2004
        raise CollectError(reason, f"{READY}: status {answer.status}, not from Open WebUI itself")
    elif mapping(_json(answer), READY).get("status") is not True:
        raise CollectError(Reason.SHAPE, f"{READY} answered 200 without saying so")
    whole.add(float(missing is None))
    for part in (*_PARTS.values(), "unknown"):
        first.add(float(part == missing), Labels(part=part))
    return [whole, first]


def doors(answer: Any) -> list[Family]:
    """Who may come in, from `/api/config`. Raises CollectError."""
    whole = mapping(answer, CONFIG)
    features = mapping(whole.get("features"), CONFIG)
    onboarding = gauge(
        "openwebui_onboarding_pending",
        "1 while there is no user at all: the next visitor becomes the administrator. Sign up yourself at once.",
    )
    onboarding.add(float(whole.get("onboarding") is True))
    auth = gauge("openwebui_auth_enabled", "0 when WEBUI_AUTH is off and every visitor is let in as administrator.")
    auth.add(_flag(features.get("auth")))
    open_ = gauge(
        "openwebui_signup_open", "1 when any visitor may register an account with an e-mail address and a password."
    )
    # Sign-up is refused without the login form (routers/auths.py); versions that do not say so have the form.
    keys = ("auth", "enable_signup", "enable_login_form")
    flags = [_flag(features.get(key, True if key == "enable_login_form" else None)) for key in keys]
    known = [flag for flag in flags if flag is not None]
    if 0.0 in known or len(known) == len(flags):
        open_.add(float(all(known)))
    return [onboarding, auth, open_]


def _flag(value: object) -> float | None:
    return float(value) if isinstance(value, bool) else None


def _json(answer: Answer) -> Any:
    if "json" not in answer.content_type:
        kind = answer.content_type or "no content type"
        raise CollectError(Reason.NOT_JSON, f"{READY} answered {kind} where JSON belongs; is this the right system?")
    return content(answer)
