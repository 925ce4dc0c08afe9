"""A system that is added must fail in every way of the list too."""

from __future__ import annotations

import pytest

from exporter.collectors import registry
from provisioning.config.targets import SYSTEMS
from tests.exporter.faults import test_matrix, ways

NOWHERE = "127.0.0.1:1"


def missing(systems: tuple[str, ...]) -> list[str]:
    """What the matrix lacks, one line a gap."""
    gaps = []
    for system in systems:
        make = ways.MATRIX.get(system)
        have = make(NOWHERE) if make else {}
        wanted = (*ways.WAYS, *ways.MORE.get(system, ()))
        gaps += [f"{system} is not tried with {way}" for way in wanted if way not in have]
        gaps += [f"{system} has {way}, which no list names" for way in have if way not in wanted]
        gaps += [f"{system} with {way} is not run" for way in wanted if (system, way) not in test_matrix.ROWS]
    return gaps


def test_every_system_fails_in_every_way() -> None:
    assert set(SYSTEMS) == set(registry())
    assert missing(SYSTEMS) == []


def test_a_fourth_system_without_its_rows_is_found() -> None:
    assert len(missing((*SYSTEMS, "vllm"))) == 2 * len(ways.WAYS)


def test_a_row_that_was_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(canary: str) -> dict[str, ways.Case]:
        return {way: case for way, case in ways.ollama(canary).items() if way != "drip"}

    monkeypatch.setitem(ways.MATRIX, "ollama", forgetful)
    assert missing(SYSTEMS) == ["ollama is not tried with drip"]


def test_the_heavy_ways_are_ways() -> None:
    assert set(ways.HEAVY) <= {way for _, way in test_matrix.ROWS}
