"""The game day's cluster-ai.yml: who is told, where everything listens, and the numbers that a faster clock needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alert_rules.thresholds import defaults
from provisioning.config.model import Services
from tests.standins.twilio import ACCOUNT, SENDER, TOKEN

if TYPE_CHECKING:
    from tests.gameday.stage import Stage

ANA, BO, DEE = "ana", "bo", "dee"
HERE = "here"
"""This machine, which a game day keeps busy."""
ADDRESSES = {
    "ana@example.org": (ANA, "mail"),
    "+15550000001": (ANA, "sms"),
    "bo@example.org": (BO, "mail"),
    "+15550000002": (DEE, "sms"),
}
"""Whose an address or number is, and by what it is reached."""
_PEOPLE: list[dict[str, Any]] = [
    {"name": ANA, "email": "ana@example.org", "sms": "+15550000001", "role": "operator"},
    {"name": BO, "email": "bo@example.org", "role": "admin", "mail_for": ["critical"]},
    {"name": "cy", "email": "cy@example.org", "role": "viewer"},
    {"name": DEE, "sms": "+15550000002", "role": "viewer"},
]
# Thresholds in seconds that must fit a faster clock.
_WAITS = ("host_disk_filling_seconds", "host_disk_full_soon_seconds")
_SHORTER = {
    "dask_oldest_task_seconds": 20.0,
    "dask_worker_silent_seconds": 5.0,  # heartbeats keep their pace
    "dask_event_loop_seconds": 0.2,  # one scrape has a second in all
}


def config(stage: Stage, targets: dict[str, Any]) -> dict[str, Any]:
    """The file as data."""
    ports = stage.ports
    listen = {name: f"127.0.0.1:{getattr(ports, name)}" for name in Services.model_fields if hasattr(ports, name)}
    secrets = stage.folder / "secrets"
    secrets.mkdir(exist_ok=True)
    twilio = {
        "account_sid": ACCOUNT,
        "auth_token_file": secret(secrets / "twilio-token", TOKEN),
        "sender": SENDER,
        "url": stage.phones.url,
    }
    return {
        "name": "gameday",
        "targets": targets,
        "people": _PEOPLE,
        "alerts": {
            "overrides": [{"target": HERE, "disabled": ["HostCpuOverloaded", "HostMemoryPressure"]}],
            "thresholds": _SHORTER | {name: defaults()[name] / stage.factor for name in _WAITS},
        },
        "notifications": {
            "mail": {"smarthost": f"127.0.0.1:{ports.mail}", "sender": "alerts@example.org", "tls": False},
            "routes": [
                # Critical alerts of the second machine go on to dee when nobody acknowledges.
                {
                    "name": "machines",
                    "hosts": ["gpu-1"],
                    "severities": ["critical"],
                    "to": [ANA, BO],
                    "escalate": [{"after": "15m", "to": [DEE]}],
                },
            ],
            # A game day has more faults in an hour than people should be told of.
            "sms": {"twilio": twilio, "hourly_cap": 1000},
            "heartbeat": {"url_file": secret(secrets / "heartbeat-url", stage.heartbeats.url)},
        },
        "services": listen,
    }


def secret(path: Path, value: str) -> str:
    """A file that its owner alone may read; gives its path."""
    path.touch(mode=0o600)
    path.write_text(value)
    return str(path)
