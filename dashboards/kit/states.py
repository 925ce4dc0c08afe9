"""Numbers that are words: 1 is `Up`, 0 is `Down`, and nothing at all is said too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.kit.house import AMBER, GREEN, GREY, RED
from dashboards.kit.language import say


@dataclass(frozen=True, slots=True)
class State:
    """The word and the colour of one value."""

    value: float
    word: str
    color: str


UP_DOWN = (State(0, "Down", RED), State(1, "Up", GREEN))
YES_NO = (State(0, "No", GREY), State(1, "Yes", GREEN))
GOOD_BAD = (
    State(-1, "Unknown", AMBER),
    State(0, "Down", RED),
    State(1, "Up, partly blind", AMBER),
    State(2, "Up", GREEN),
)
"""What `dashboards.pages.queries.state` gives."""


def mappings(states: Sequence[State]) -> list[dict[str, Any]]:
    """Grafana's value mappings of the words."""
    if not states:
        return []
    options = {
        f"{state.value:g}": {"color": state.color, "index": index, "text": say(state.word)}
        for index, state in enumerate(states)
    }
    return [{"type": "value", "options": options}]


def nothing(word: str, color: str = GREY) -> dict[str, Any]:
    """The mapping of an absent value: a word in grey, never red, because nothing is wrong with it."""
    return {
        "type": "special",
        "options": {"match": "null+nan", "result": {"color": color, "index": 99, "text": say(word)}},
    }
