"""What is broken and what must come of it: the list in faults.yml, checked."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tests.outages.ways import WAYS

FILE = Path(__file__).with_name("faults.yml")


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(Strict):
    """One fault. Whatever it is, nothing that was kept may be lost."""

    name: str = Field(pattern="^[a-z0-9-]+$")
    way: dict[str, dict[str, Any]] = Field(alias="break", min_length=1, max_length=1)
    """How it is broken, with parameters."""
    hold: float = Field(0.0, ge=0)
    """Seconds of production that it goes on at least; with an alert it goes on until that fires."""
    alert: str | None = None
    """The one that must fire; none for what heals before anybody need know."""
    beside: list[str] = []
    """Alerts that may fire, too."""
    perhaps: list[str] = []
    """Alerts that may fire at a faster clock alone: a start takes as long as ever, and they wait shorter."""
    fires_within: float = Field(300.0, gt=0)
    """Seconds of production from the fault until the alert must fire."""
    ends_within: float = Field(900.0, gt=0)
    """Seconds of production from the mending until every alert must have ended."""
    unnoticed: bool = False
    """Whether every visitor must have a good answer all the time."""
    back_within: float = Field(5.0, gt=0)
    """Seconds from the mending until every visitor must have good answers again."""
    waits: float = Field(15.0, gt=0)
    """Seconds that anybody may wait for an answer, good or bad."""
    needs: list[Literal["disk", "clock"]] = []
    """What this machine must have; else the fault is left out."""

    @model_validator(mode="after")
    def _can_be_done(self) -> Fault:
        [(way, parameters)] = self.way.items()
        if way not in WAYS:
            raise ValueError(f"no way is called {way!r}; there are {', '.join(sorted(WAYS))}")
        try:
            inspect.signature(WAYS[way]).bind(None, **parameters)
        except TypeError as error:
            raise ValueError(f"{way}: {error}") from None
        return self


class Faults(Strict):
    """The whole file."""

    faults: list[Fault]

    @model_validator(mode="after")
    def _names(self) -> Faults:
        names = [one.name for one in self.faults]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"twice: {', '.join(sorted(twice))}")
        return self


def load(file: Path = FILE) -> list[Fault]:
    """The list. Raises pydantic's ValidationError."""
    return Faults.model_validate(yaml.safe_load(file.read_text())).faults
