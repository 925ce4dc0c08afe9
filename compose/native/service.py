"""What a service of the stack is, and the states it can be in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from compose.native.access import Access
from compose.native.ports import Address


class Condition(StrEnum):
    """State of a service as `status` tells it."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack: how to start it, and how to see that it works."""

    name: str
    command: tuple[str, ...]
    ready: str
    """Address that answers 200 once it works."""
    url: str
    """Address for people."""
    ports: tuple[Address, ...]
    """Where it listens; all must be free before anything starts."""
    environment: dict[str, str] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    """How to get in to look whether it answers."""
    grace: float | None = None
    """Seconds between the request to end and the order; None for the few that most need."""
    note: str = ""
    """What people should know when it answers."""
