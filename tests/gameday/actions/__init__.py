"""Everything a scenario may do: the names under `break` in scenarios.yml are the functions of these modules."""

from __future__ import annotations

from tests.gameday.actions import dask, hosts, messaging, monitoring, ollama, openwebui, processes
from tests.gameday.actions.registry import ACTIONS

__all__ = ["ACTIONS", "dask", "hosts", "messaging", "monitoring", "ollama", "openwebui", "processes"]
