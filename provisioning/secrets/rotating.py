"""Replaces one secret, so that a crash at any moment leaves what a second `rotate` finishes.

The new value lies in a file of its own first (`NAME.next`), then the program that checks it learns it, and only then it
takes the old one's place. What is left of an interrupted run is used again, not made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from provisioning.config.command import command
from provisioning.config.secrets import SecretError
from provisioning.grafana.api import Api, GrafanaError, NotDoneError
from provisioning.render.first_secrets import create_secret
from provisioning.secrets import database, redis_users
from provisioning.secrets.age_key import AgeKeyError, new_pair
from provisioning.secrets.database import DatabaseError, Login, RefusedError, query, verifier
from provisioning.secrets.files import put, read
from provisioning.secrets.installation import Installation
from provisioning.secrets.making import SecretsError, recipients
from provisioning.secrets.names import (
    ADMIN_PASSWORD,
    BRIDGE_TOKEN,
    BY_NAME,
    DERIVED,
    IDENTITY,
    NEXT,
    OPERATOR_KEY,
    PREVIOUS,
    RECIPIENTS,
    SECRET_KEY,
    Secret,
)

_WHERE = {"postgres": "postgres", "grafana": "grafana", "monitoring": "postgres", "backup": "grafana"}
"""A database that each role may log in to."""
_NOT_THE_KEY = (
    "grafana-secret-key is not replaced: Grafana could no longer read what it has encrypted with it. What Grafana "
    "supports is to replace the keys that this one protects: POST /api/admin/encryption/rotate-data-keys and then "
    "/api/admin/encryption/reencrypt-secrets, as its administrator"
)


def rotate(there: Installation, name: str, *, grafana: str, finish: bool = False) -> list[str]:
    """Replaces the secret of that name and returns what is left to do, a line each.

    `grafana` is where a Grafana answers. `finish` ends the time in which Redis takes the old password as well as the
    new one. Raises SecretsError.
    """
    try:
        change = _to_finish(name) if finish else _kinds(name)
        _ready(name, " --finish" if finish else "")
        return change(there, name, grafana)
    except (SecretError, AgeKeyError, DatabaseError, GrafanaError, NotDoneError, redis_users.RedisError) as error:
        raise SecretsError(f"{name}: {error}") from None
    except OSError as error:
        raise SecretsError(f"{name}: cannot write in {there.secrets}: {error.strerror}") from None


def _ready(name: str, option: str) -> None:
    """Before anything is written: what could not be told leaves nothing half-done. Raises SecretsError."""
    try:
        if name in BY_NAME and BY_NAME[name].role:
            database.ready()
        if name in BY_NAME and BY_NAME[name].user:
            redis_users.ready()
    except (DatabaseError, redis_users.RedisError) as error:
        raise SecretsError(
            f"{name}: nothing was changed: {error}, or let the container do it that has all: "
            f"{command()} deploy compose run --rm admin secrets rotate {name}{option}"
        ) from None


def _to_finish(name: str) -> Callable[[Installation, str, str], list[str]]:
    if name not in BY_NAME or BY_NAME[name].user is None:
        raise SecretsError(f"{name} has no time in which two of it are taken")
    return _finish


def _kinds(name: str) -> Callable[[Installation, str, str], list[str]]:
    if name == SECRET_KEY:
        raise SecretsError(_NOT_THE_KEY)
    if name in DERIVED:
        raise SecretsError(f"{name} is made from other secrets; rotate the password that is in it")
    kinds = {ADMIN_PASSWORD: _administrator, BRIDGE_TOKEN: _token, IDENTITY: _identity, RECIPIENTS: _recipients}
    if name in kinds:
        return kinds[name]
    if name not in BY_NAME:
        raise SecretsError(f"there is no secret {name}; `cluster-ai secrets list` names them")
    return _role if BY_NAME[name].role else _user


def _role(there: Installation, name: str, _grafana: str) -> list[str]:
    """PostgreSQL learns the new password first. Who is connected stays so."""
    role = BY_NAME[name].role
    assert role is not None  # noqa: S101 -- that is how it was chosen
    value = _next(there, name)
    address = there.parts.postgres
    change = f"ALTER ROLE {role} PASSWORD :'verifier'"  # a name of ours
    _as_superuser(there, change, verifier(value))
    query(Login(address, role, value), _WHERE[role], "SELECT 1")
    _arrive(there, name, value)
    return _restarts(there, BY_NAME[name])


def _as_superuser(there: Installation, sql: str, value: str) -> None:
    """A password of his that was on its way in when `rotate` was interrupted may be the right one already."""
    refused: RefusedError | None = None
    for candidate in _candidates(there.secrets / "postgres-password"):
        try:
            query(Login(there.parts.postgres, "postgres", candidate), "postgres", sql, {"verifier": value})
        except RefusedError as error:
            refused = error
        else:
            return
    raise refused or DatabaseError("there is no password of the superuser")


def _user(there: Installation, name: str, grafana: str) -> list[str]:
    """Redis takes the old password, too, until `--finish`: who uses it comes back after a lost connection."""
    value = _next(there, name)
    current = there.secrets / name
    old = read(current)
    if old != value:
        put(current.with_name(f"{name}{PREVIOUS}"), old)
        put(current, value)
    redis_users.write_derived(there)
    redis_users.reload(there, _candidates(there.secrets / "redis-admin-password"))
    _next_of(there, name).unlink()
    if not BY_NAME[name].restart:
        return _finish(there, name, grafana)
    return [*_restarts(there, BY_NAME[name]), f"then: cluster-ai secrets rotate {name} --finish"]


def _finish(there: Installation, name: str, _grafana: str) -> list[str]:
    previous = there.secrets / f"{name}{PREVIOUS}"
    admins = _candidates(there.secrets / "redis-admin-password")
    previous.unlink(missing_ok=True)  # Redis is told again also where an interrupted run had come this far
    redis_users.write_derived(there)
    redis_users.reload(there, admins)
    return []


def _token(there: Installation, name: str, _grafana: str) -> list[str]:
    """Both sides read the file at each message."""
    _arrive(there, name, _next(there, name))
    return []


def _administrator(there: Installation, name: str, grafana: str) -> list[str]:
    """Grafana learns it first. Who is signed in stays so."""
    value = _next(there, name)
    refused: Exception | None = None
    for candidate in _candidates(there.secrets / name):
        try:
            with Api(grafana, "admin", candidate, host=urlsplit(there.config.grafana_url).hostname) as api:
                api.me() if candidate == value else api.set_own_password(candidate, value)
        except (GrafanaError, NotDoneError) as error:
            refused = error
        else:
            _arrive(there, name, value)
            return []
    raise refused or NotDoneError("there is no password of Grafana's administrator")


def _identity(there: Installation, name: str, _grafana: str) -> list[str]:
    """The old key stays behind the new one: it opens the backups that were made for it."""
    path = there.secrets / name
    pair = new_pair()
    known = recipients(there)
    put(path, pair.identity + path.read_text(encoding="ascii"))
    put(there.secrets / RECIPIENTS, "".join(f"{key}\n" for key in (pair.recipient, *known[1:])))
    return [f"older keys stay in {path}; when the backups made for them are gone, take their lines out"]


def _recipients(there: Installation, name: str, _grafana: str) -> list[str]:
    """A new key for the operator."""
    operator = there.secrets / OPERATOR_KEY
    if there.production.backup.recipient is not None:
        raise SecretsError(
            f"{name}: yours is `production.backup.recipient` of {there.file}; change it, and `secrets init`"
        )
    if operator.exists():
        raise SecretsError(f"{name}: {operator} is still here; take it away first")
    pair = new_pair()
    create_secret(operator, pair.identity)
    put(there.secrets / name, "".join(f"{key}\n" for key in (*recipients(there)[:1], pair.recipient)))
    return [f"take {operator} to where you keep keys; the old one still opens the backups made until now"]


def _next_of(there: Installation, name: str) -> Path:
    return there.secrets / f"{name}{NEXT}"


def _next(there: Installation, name: str) -> str:
    """The value that is to come: that of an interrupted run, or a new one, on disk either way."""
    create_secret(_next_of(there, name), BY_NAME[name].new())
    return read(_next_of(there, name))


def _arrive(there: Installation, name: str, value: str) -> None:
    put(there.secrets / name, value)
    _next_of(there, name).unlink()


def _candidates(path: Path) -> list[str]:
    """Values that may be the right one now, the likeliest first."""
    return [read(one) for one in (path, *_beside(path)) if one.exists()]


def _beside(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}{NEXT}")
    yield path.with_name(f"{path.name}{PREVIOUS}")


def _restarts(there: Installation, secret: Secret) -> list[str]:
    """How those who read it only at their start are started again, one after the other."""
    grafanas = [address.rpartition(":")[0] for address in there.parts.grafanas]
    services: Sequence[str] = [
        name for service in secret.restart for name in (grafanas if service == "grafana" else [service])
    ]
    return [f"restart {service}: cluster-ai deploy compose restart {service}" for service in services]
