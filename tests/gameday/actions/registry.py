"""The ways to break things, by name: each is undone when its context ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

Action = Callable[..., AbstractAsyncContextManager[None]]
ACTIONS: dict[str, Action] = {}
"""First parameter: the stage. The rest comes from scenarios.yml by name."""


def action(function: Callable[..., AsyncIterator[None]]) -> Action:
    """Registers an async generator function that breaks something, yields once, and mends it."""
    made = asynccontextmanager(function)
    ACTIONS[function.__name__] = made
    return made
