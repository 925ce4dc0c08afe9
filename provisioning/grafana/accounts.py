"""Service accounts: programs that ask Grafana, each with a token in a file of its own."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from provisioning.config.secrets import SecretError, SecretFile
from provisioning.grafana.api import NotDoneError
from provisioning.grafana.steps import MARK, Comparison
from provisioning.grafana.wanted import Account, Wanted

_SLACK = 60.0  # s by which a token's lifetime may differ from the file's


def compare(wanted: Wanted, seen: Comparison) -> None:
    """Plans what is to change. An account is ours when one of its tokens has our name, or it has none at all."""
    rows = {row["name"]: row for row in seen.api.accounts()}
    names = {account.name for account in wanted.accounts}
    for account in wanted.accounts:
        row = rows.get(account.name)
        if row is None:
            _missing(account, seen)
            continue
        tokens = seen.api.tokens(row["id"])
        if seen.adopt or not tokens or _ours(tokens):
            _present(account, row, tokens, seen)
        else:
            seen.not_ours(f"the service account {account.name}")
    left = []
    for name in sorted(rows.keys() - names):
        row = rows[name]
        if not _ours(seen.api.tokens(row["id"])):
            left.append(name)
        elif not row["isDisabled"]:
            what = f"service account {name}: kept out, because the file no longer has it"
            seen.step("-", what, partial(seen.api.set_account, row["id"], isDisabled=True))
    if left:
        seen.notes.append(f"service accounts that are not from this file, left as they are: {', '.join(left)}")


def _missing(account: Account, seen: Comparison) -> None:
    def make() -> None:
        made = seen.api.make_account(account.name, account.role)
        seen.accounts[account.name] = made["id"]
        _new_token(account, seen)

    seen.step("+", f"service account {account.name}: {account.role}, its token in {account.token_file}", make)


def _present(account: Account, row: dict[str, Any], tokens: list[dict[str, Any]], seen: Comparison) -> None:
    number = seen.accounts[account.name] = row["id"]
    if row["isDisabled"]:
        what = f"service account {account.name}: let in again"
        seen.step("~", what, lambda: seen.api.set_account(number, isDisabled=False))
    if row["role"] != account.role:
        what = f"service account {account.name}: {row['role']} -> {account.role}"
        seen.step("~", what, lambda: seen.api.set_account(number, role=account.role))
    # A disabled account's token is refused as if it were not its own; whether it is shows once it is let in.
    why = None if row["isDisabled"] else _no_longer_good(account, row["login"], tokens, seen)
    if why is not None:
        what = f"service account {account.name}: a new token in {account.token_file}, because {why}"
        seen.step("~", what, lambda: _new_token(account, seen))


def _no_longer_good(account: Account, login: str, tokens: list[dict[str, Any]], seen: Comparison) -> str | None:
    try:
        kept = SecretFile(account.token_file).read()
    except SecretError:
        return "there is none that can be read"
    if account.token_file.stat().st_mode & 0o077:
        return "others can read the file"
    if seen.api.owner_of(kept) != login:
        return "Grafana does not take the one there"
    newest = max(_ours(tokens), key=lambda token: str(token["created"]), default=None)
    if newest is None:
        return "the one there was not made from this file"
    return _time_is_up(newest, account.lifetime)


def _time_is_up(token: dict[str, Any], lifetime: float | None) -> str | None:
    if lifetime is None:
        return "the one there ends some day" if token.get("expiration") else None
    if not token.get("expiration"):
        return "the one there never ends"
    end = _moment(token["expiration"])
    if abs((end - _moment(token["created"])).total_seconds() - lifetime) > _SLACK:
        return "its time has changed in the file"
    # Grafana's own `secondsUntilExpiration` is 0 until the last days.
    return "its time is nearly up" if (end - datetime.now(UTC)).total_seconds() < lifetime / 3 else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ours(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [token for token in tokens if token["name"].startswith(f"{MARK} ")]


def _new_token(account: Account, seen: Comparison) -> None:
    """Makes one, keeps it, and only then takes away those it replaces.

    One that ends by itself is left until then: programs that have read it before go on.
    """
    number = seen.accounts.get(account.name)
    if number is None:
        raise NotDoneError(f"there is no service account {account.name}")
    older = _ours(seen.api.tokens(number))
    made, secret = seen.api.make_token(number, f"{MARK} {datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", account.lifetime)
    try:
        _keep(account.token_file, secret)
    except OSError:
        seen.api.delete_token(number, made)
        raise
    for token in older:
        if token["hasExpired"] or not token.get("expiration"):
            seen.api.delete_token(number, token["id"])


def _keep(path: Path, secret: str) -> None:
    """Replaces the file in one step; only its owner may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
