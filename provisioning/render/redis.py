"""Redis for Grafana's cache and Live, and for the SMS bridge's memory of what was told."""

from __future__ import annotations

from pathlib import Path

from provisioning.config.addresses import ANY_ADDRESS
from provisioning.config.model import Config
from provisioning.render.files import header
from provisioning.render.ini_path import ini_path
from provisioning.render.places import Places

USERS_FILE = "redis-users.acl"


def files(config: Config, places: Places, out: Path, source: str) -> dict[str, str]:  # noqa: ARG001 -- a part's arguments
    """The one file that Redis reads, and the name of the one that says who may do what."""
    assert places.production is not None  # noqa: S101 -- the caller's promise
    parts = places.production
    host, _, port = parts.redis.rpartition(":")
    listen = host if host in ANY_ADDRESS or host.replace(".", "").isdigit() else "* -::*"
    text = f"""{header(source)}
bind {listen}
port {port}
dir "{ini_path(parts.redis_data)}"
aclfile "{ini_path(places.secrets / USERS_FILE)}"
timeout 0
tcp-keepalive 60
maxclients 200

# Everything in it has an end of its own. Nothing is thrown out before: a bridge that forgets tells people twice.
maxmemory 128mb
maxmemory-policy noeviction

# A kill loses a second at most; the bridge's promise counts on the rest.
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 16mb
save ""

enable-debug-command no
enable-module-command no
enable-protected-configs no
"""
    return {"redis/redis.conf": text}
