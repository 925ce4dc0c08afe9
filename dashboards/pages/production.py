"""What only a production stack has, for the Settings page: its door, its database, its cache and tested backups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.kit import UP_DOWN, Query, above, plain, stat

_NONE = "not configured"
# An address that answers is asked for; without who asks it, its exporter is believed.
_DOOR = 'min(probe_success{job="door"}) or min(nginx_up)'
_ANSWERS = "cluster_ai_door_responses_total"


def tiles(limits: Mapping[str, float]) -> list[Any]:
    """The row."""
    return [*_door(limits), *_behind(limits)]


def _door(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "Door",
            description="Whether nginx, the only door of a production stack, answers as a browser would ask it. Down: "
            "nobody can sign in or acknowledge; alerts are told all the same.",
            unit="none",
            queries=[Query(_DOOR)],
            levels=plain(),
            states=UP_DOWN,
            empty=_NONE,
        ),
        stat(
            "Door errors",
            description="Share of what people asked for within five minutes that ended in an error of the server "
            "(5xx): Grafana does not answer, or its database. nginx's log says which paths.",
            unit="percentunit",
            queries=[
                Query(
                    f'(sum(rate({_ANSWERS}{{code=~"5.."}}[5m])) or sum(rate({_ANSWERS}[5m])) * 0)'
                    f" / sum(rate({_ANSWERS}[5m]))"
                )
            ],
            levels=above(limits["door_error_ratio"]),
            empty=_NONE,
            decimals=1,
        ),
        stat(
            "Refused, 1 h",
            description="Requests within the hour that nginx turned away because they came too fast (429): passwords "
            "that are tried, a script without a pause, or many people behind one address.",
            unit="none",
            queries=[
                Query(
                    f'round(sum(increase({_ANSWERS}{{code="429"}}[1h])) or sum(increase({_ANSWERS}[1h])) * 0)',
                    every="1m",
                )
            ],
            levels=above(limits["door_refused_per_hour"]),
            empty=_NONE,
        ),
    ]


def _behind(limits: Mapping[str, float]) -> list[Any]:
    return [
        stat(
            "DB sessions",
            description="Share of PostgreSQL's connections that are taken. When all are, Grafana lets nobody in.",
            unit="percentunit",
            queries=[Query("sum(pg_stat_activity_count) / max(pg_settings_max_connections)")],
            levels=above(limits["database_connections_ratio"]),
            empty=_NONE,
            decimals=0,
        ),
        stat(
            "Redis size",
            description="Share of the memory that Redis may use, for what Grafana caches and several Grafanas tell "
            "each other. When it is full it forgets, or takes nothing more.",
            unit="percentunit",
            queries=[Query("max(redis_memory_used_bytes / (redis_memory_max_bytes > 0))")],
            levels=above(limits["redis_memory_ratio"]),
            empty=_NONE,
            decimals=0,
        ),
        stat(
            "Restore test",
            description="Since when no backup was restored as a test; it happens once a week. Backups that nobody has "
            "restored are a hope.",
            unit="s",
            queries=[Query("time() - min(cluster_ai_backup_verified_timestamp_seconds)")],
            levels=above(limits["backup_tested_seconds"]),
            empty=_NONE,
            decimals=1,
        ),
    ]
