"""A configuration as it may be shown: no secret's place, nobody's address."""

from __future__ import annotations

from typing import Any

from provisioning.config.basics import SECRET_FILES
from provisioning.config.model import Config

HIDDEN = "<hidden>"
_HIDE = SECRET_FILES | {"username", "email", "sms", "sender", "write_token_to"}


def shown(config: Config) -> dict[str, Any]:
    """Plain data for YAML or JSON; keys left at nothing are left out."""
    data: dict[str, Any] = _hide(config.model_dump(mode="json", exclude_none=True))
    return data


def _hide(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: HIDDEN if key in _HIDE else _hide(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hide(inner) for inner in value]
    return value
