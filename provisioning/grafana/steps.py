"""One change to Grafana, said before it is made; and what the kinds of things share while they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from provisioning.grafana.api import Api

MARK = "cluster-ai.yml"
"""How what we made is known again: the address of our teams, the name of the team of everybody in the file, and how the
names of our tokens begin."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change; `run` makes it and raises RefusedError or OSError when it cannot."""

    sign: Literal["+", "~", "-"]
    what: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.sign} {self.what}"


@dataclass(slots=True)
class Comparison:
    """Grafana beside the file: what there is, what to do, and what people should know."""

    api: Api
    adopt: bool = False
    """Whether things of the same name that others made are taken over."""
    show: Callable[[str, str], None] | None = None
    """Shows a person's name and first password once; None where nobody would see it."""
    users: dict[str, int] = field(default_factory=dict)
    """Id by login, those included that a step has made."""
    teams: dict[str, int] = field(default_factory=dict)
    """Id by name."""
    accounts: dict[str, int] = field(default_factory=dict)
    """Id by name."""
    absent: set[str] = field(default_factory=set)
    """Logins of the file that have no user and will have none now."""
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is left alone."""
    conflicts: list[str] = field(default_factory=list)
    """What is not as the file says and is left so, because somebody else made it or something is missing."""

    def step(self, sign: Literal["+", "~", "-"], what: str, run: Callable[[], None]) -> None:
        """Plans a change."""
        self.steps.append(Step(sign, what, run))

    def not_ours(self, what: str) -> None:
        """Says that something has the name of a thing in the file, but was not made from it."""
        self.conflicts.append(f"{what} was not made from this file and is left as it is; --adopt takes it over")
