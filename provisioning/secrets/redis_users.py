"""Who may do what in Redis, and the files from which its users learn their passwords."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provisioning.config.secrets import SecretError
from provisioning.secrets.files import put, read
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import ACL, BRIDGE_REDIS, EXPORTER_REDIS, GRAFANA_REDIS, PREVIOUS, SECRETS

CACHE_PREFIX = "grafana:"
BRIDGE_KEYS = "{cluster-ai-sms}:*"
LIVE_PREFIX = "gf_live"
"""Grafana's own, without `[live] ha_prefix`."""
_GREETINGS = "+ping +hello +auth +select +client|setname"
RIGHTS: Mapping[str, str] = {
    "grafana": f"~{CACHE_PREFIX}* {_GREETINGS} +get +set +setex +del +exists",
    # The bridge's ledger works by scripts, which may touch its own keys only.
    "bridge": f"~{BRIDGE_KEYS} {_GREETINGS} +eval +evalsha +script|load +get +set +del +exists +pexpire +sadd "
    "+smembers +hset +hget +hmget +zadd +zrem +zcount +zrange +zrangebyscore +zremrangebyscore",
    "monitoring": f"{_GREETINGS} +info +slowlog|get +slowlog|len +latency|latest +latency|histogram",
    "admin": "+ping +hello +auth +acl|load",
}
# While Redis reads its log of changes at a start, it is the user without a name, and what that one may not change is
# lost: only a line in its own log says so. So nobody can be that user, and it may do everything.
_NOBODY = "user default off ~* &* +@all"
# Except where Grafana's Live is it, which gives its engine a password and no name. Then it may change what is changed
# in transactions, which are the bridge's scripts besides Live's own, and read Live's alone.
_LIVE = (
    f"~{LIVE_PREFIX}* %W~{BRIDGE_KEYS} &{LIVE_PREFIX}* {_GREETINGS} +@pubsub +@read +@write +@transaction +eval "
    "+evalsha +script|load -@dangerous +cluster|slots"
)
_PATIENCE = 10.0  # s
USERS = tuple(secret for secret in SECRETS if secret.user is not None)


class RedisError(Exception):
    """Redis did not take it; `str()` says why, for people."""


def derived(there: Installation) -> dict[Path, str]:
    """The files that are made from passwords and whose readers need them whole. Raises SecretError."""
    folder, redis = there.secrets, there.parts.redis
    grafana, bridge = read(folder / "redis-grafana-password"), read(folder / "redis-bridge-password")
    password = read(folder / "redis-exporter-password")
    # Older exporters look under the address without the name.
    exporter = {f"redis://{redis}": password, f"redis://monitoring@{redis}": password}
    return {
        folder / ACL: "".join(f"{line}\n" for line in _users(there)),
        folder / GRAFANA_REDIS: f"addr={redis},pool_size=20,db=0,username=grafana,password={grafana},ssl=false",
        folder / BRIDGE_REDIS: f"redis://bridge:{bridge}@{redis}/0",
        folder / EXPORTER_REDIS: json.dumps(exporter),
    }


def write_derived(there: Installation) -> list[Path]:
    """Brings those files up to date and returns the ones that changed. Raises SecretError and OSError."""
    changed = []
    for path, text in derived(there).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            put(path, text)
            changed.append(path)
    return changed


def ready() -> None:
    """Raises RedisError where Redis could not be told anything."""
    try:
        import redis  # noqa: F401, PLC0415 -- an extra
    except ImportError:
        raise RedisError("it needs the redis library; install cluster-ai-dashboard[redis]") from None


def reload(there: Installation, passwords: Sequence[str]) -> None:
    """Has Redis read its users again; one of `passwords` is the administrator's. Raises RedisError."""
    ready()
    from redis import Redis, exceptions  # noqa: PLC0415 -- an extra

    host, _, port = there.parts.redis.rpartition(":")
    how: dict[str, Any] = {"username": "admin", "socket_timeout": _PATIENCE, "retry": None}
    refused: Exception | None = None
    for password in passwords:
        try:
            with Redis(host=host, port=int(port), password=password, **how) as redis:
                redis.acl_load()
        except exceptions.AuthenticationError as error:
            refused = error
        except exceptions.RedisError as error:
            raise RedisError(f"Redis at {there.parts.redis}: {error}") from None
        else:
            return
    raise RedisError(f"Redis at {there.parts.redis}: {refused}")


def _users(there: Installation) -> Iterator[str]:
    if there.production.grafanas > 1:
        yield f"user default on {' '.join(_hashes(there.secrets / 'redis-grafana-password'))} resetchannels {_LIVE}"
    else:
        yield _NOBODY
    for secret in USERS:
        assert secret.user is not None  # noqa: S101 -- that is how they were chosen
        hashes = " ".join(_hashes(there.secrets / secret.name))
        yield f"user {secret.user} on {hashes} resetchannels {RIGHTS[secret.user]}"


def _hashes(path: Path) -> Iterator[str]:
    """Of the password, and of the one before while those who use it have not been started again."""
    yield _hash(read(path))
    previous = path.with_name(f"{path.name}{PREVIOUS}")
    try:
        yield _hash(read(previous))
    except SecretError:
        if previous.exists():
            raise


def _hash(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"
