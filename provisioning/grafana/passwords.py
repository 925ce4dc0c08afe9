"""Passwords: random ones, and what makes one too weak for Grafana's own policy."""

from __future__ import annotations

import secrets
import string

SHORTEST = 12
_KINDS = (
    (string.ascii_uppercase, "a capital letter"),
    (string.ascii_lowercase, "a small letter"),
    (string.digits, "a digit"),
)
_USUAL = ("admin", "password", "changeme", "grafana")


def new_password() -> str:
    """Random, and with one of each kind of character that Grafana's password policy asks for."""
    return f"{secrets.token_urlsafe(18)}-Aa1"


def weakness(password: str, login: str) -> str | None:
    """Why this password must not be used, in a few words; None when it is good.

    The policy is Grafana's (`[auth.basic] password_policy`): 12 characters, capital and small letters, a digit and
    another sign. Grafana does not hold the administrator's first password to it.
    """
    bare = "".join(char for char in password.lower() if char.isalpha())
    if bare in {*_USUAL, login.lower()}:
        return "it is one that everybody would try"
    if len(password) < SHORTEST:
        return f"it has fewer than {SHORTEST} characters"
    for kind, named in _KINDS:
        if not any(char in kind for char in password):
            return f"it has not {named}"
    if password.isalnum():
        return "it has no sign besides letters and digits"
    return None
