from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.config.durations import format_duration, is_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), ("90d", 7_776_000), ("1w", 604_800), ("1y", 31_536_000)],
)
def test_what_people_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "5", "s", "5 s", "-5s", "5s\n", "5S", "\u0665s", "1e3s", 5, 5.0, True, None, []])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write a number with a unit"):
        parse_duration(value)


@given(st.integers(0, 10**12))
def test_what_we_write_reads_back(milliseconds: int) -> None:
    text = format_duration(milliseconds / 1000)
    assert is_duration(text)
    assert round(parse_duration(text) * 1000) == milliseconds
