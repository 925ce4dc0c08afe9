"""What `apply` says: the differences, first passwords, and what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from provisioning.config.problems import printable
from provisioning.grafana.apply import Refusal
from provisioning.grafana.steps import Comparison


class Shown:
    """First passwords, kept only until they are shown."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}

    def add(self, login: str, password: str) -> None:
        """Keeps one."""
        self._made[login] = password

    def lines(self) -> Iterator[str]:
        """For people."""
        if self._made:
            yield "Passwords, shown only now; each person should change theirs (Profile > Change password):"
        for login, password in self._made.items():
            yield f"  {login:<20} {password}"


def before(seen: Comparison, file: Path) -> Iterator[str]:
    """The differences."""
    if seen.steps:
        yield f"Grafana is not yet as {file} says:"
    else:
        but = " but for what stands in the way" if seen.conflicts else ""
        yield f"Nothing to change: Grafana is as {file} says{but}."
    for step in seen.steps:
        yield f"  {printable(str(step))}"
    for conflict in seen.conflicts:
        yield f"  ! {printable(conflict)}"
    for note in seen.notes:
        yield f"  ({printable(note)})"


def after(seen: Comparison, refused: list[Refusal]) -> Iterator[str]:
    """What became of them."""
    made = len(seen.steps) - len(refused)
    if seen.steps:
        yield f"{made} of {len(seen.steps)} changes made." if refused else f"{_changes(made)} made."
    for refusal in refused:
        yield f"  refused: {printable(str(refusal))}"


def _changes(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"
