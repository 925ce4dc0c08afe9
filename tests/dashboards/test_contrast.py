"""Colours that can be read: WCAG 2.1 AA, worked out; tests/real/test_accessible.py asks axe about whole pages."""

from __future__ import annotations

import pytest

from dashboards.kit.house import AMBER, CELLS, GREEN, GREY

WHITE = "#ffffff"
# What Grafana 12.2 writes on coloured cells, and its panels' backgrounds.
LETTERS, DARK = "#f7f8fa", "#181b1f"


def luminance(color: str) -> float:
    parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("color", [GREEN, AMBER, GREY])
def test_large_letters_are_read_in_both_themes_and_on_a_filled_tile(color):
    for other in (WHITE, DARK, LETTERS):
        assert contrast(color, other) >= 3


@pytest.mark.parametrize("color", sorted({color for color in CELLS.values() if color != "transparent"}))
def test_small_letters_are_read_on_a_coloured_cell(color):
    assert contrast(color, LETTERS) >= 4.5
    red, green, blue = (int(color[index : index + 2], 16) for index in (1, 3, 5))
    assert (red * 299 + green * 587 + blue * 114) / 1000 <= 180, "Grafana would write black letters on it"
