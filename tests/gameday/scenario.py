"""What is broken in a game day: the list in scenarios.yml, checked."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tests.gameday.actions import ACTIONS

FILE = Path(__file__).with_name("scenarios.yml")
Channels = frozenset[Literal["mail", "sms"]]


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scenario(Strict):
    """One fault, and what must come of it."""

    name: str = Field(pattern="^[a-z0-9-]+$")
    system: Literal["dask", "ollama", "openwebui", "host", "monitoring"]
    faults: list[dict[str, dict[str, Any]]] = Field(alias="break", min_length=1)
    """Actions with their parameters, done in this order and undone in the other."""
    alert: str | None
    """The one that must tell people; none when the fault must stay unnoticed."""
    labels: dict[str, str] = {}
    told: str
    """A name under `audiences`."""
    within: float = Field(60.0, gt=0)
    """Seconds of this clock, beyond the alert's own `for`, until it must fire."""
    ends_within: float = Field(60.0, gt=0)
    """Seconds of this clock from the mending until the alert must end; long windows take their time."""
    hold: float = Field(0.0, ge=0)
    """Seconds of production that the fault goes on after people were told."""
    beside: list[str] = []
    """Alerts that this fault may raise too, and that tell nobody."""
    aside: list[str] = []
    """Alerts, targets and machines that are another matter: what is told of them is not counted."""
    perhaps: dict[str, Channels] = {}
    """Who may be told beside, once: by what fails and is mended again."""
    twice: dict[str, Channels] = {}
    """Who may be told twice, by each of a pair of Alertmanagers: docs/gameday.md says when they cannot help it."""
    heartbeat_stops: bool = False
    """Whether the outside service must miss us meanwhile."""
    needs: list[Literal["dask", "ollama", "gpu_ollama", "openwebui", "machine", "disk", "grafana"]] = []
    """What must be there; the system itself when nothing is said."""
    acknowledge: bool = False
    lingers: bool = False
    """The alert remembers for an hour: the next scenarios, of other targets, are played meanwhile."""
    resolves: bool = True
    """False where nobody can be told of the end, because it ends what tells."""
    fast: bool = False
    """Whether `make test-real` runs it."""

    @property
    def subject(self) -> str:
        """The target or machine that it is about; empty for the stack itself."""
        return self.labels.get("target") or self.labels.get("host") or ""

    @property
    def all_needs(self) -> list[str]:
        """What must be there."""
        own = [self.system] if self.system in ("dask", "ollama", "openwebui") else []
        return [*self.needs] or own

    @model_validator(mode="after")
    def _can_be_done(self) -> Scenario:
        for step in self.faults:
            for action, parameters in step.items():
                if action not in ACTIONS:
                    raise ValueError(f"no action is called {action!r}; there are {', '.join(sorted(ACTIONS))}")
                try:
                    inspect.signature(ACTIONS[action]).bind(None, **parameters)
                except TypeError as error:
                    raise ValueError(f"{action}: {error}") from None
        return self


class Scenarios(Strict):
    """The whole file."""

    audiences: dict[str, dict[str, Channels]]
    """Who is told by what: person to channels."""
    scenarios: list[Scenario]

    @model_validator(mode="after")
    def _names(self) -> Scenarios:
        names = [one.name for one in self.scenarios]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"twice: {', '.join(sorted(twice))}")
        for one in self.scenarios:
            if one.told not in self.audiences:
                raise ValueError(f"{one.name}: no audience is called {one.told!r}")
            if one.alert is None and self.audiences[one.told]:
                raise ValueError(f"{one.name}: nobody can be told without an alert")
        return self


def load(file: Path = FILE) -> Scenarios:
    """The list. Raises pydantic's ValidationError."""
    return Scenarios.model_validate(yaml.safe_load(file.read_text()))
