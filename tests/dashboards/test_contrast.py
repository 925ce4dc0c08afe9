"""Colours that can be read: WCAG 2.1 AA, worked out; tests/real/test_accessible.py asks axe about whole pages."""

from __future__ import annotations

import itertools

import pytest

from dashboards.kit.colors import SERIES
from dashboards.kit.house import AMBER, CELLS, GREEN, GREY

WHITE = "#ffffff"
# What Grafana 12.2 writes on coloured cells, and its panels' backgrounds.
LETTERS, DARK = "#f7f8fa", "#181b1f"


# What those see who lack a kind of cone: Machado, Oliveira and Fernandes 2009, of linear red, green and blue.
SIGHTS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def linear(color: str) -> list[float]:
    parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    return [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def seen(color: str, sight: str) -> tuple[float, float, float]:
    """In CIELAB, where distances are about as large as they look."""
    red, green, blue = (
        min(1.0, max(0.0, sum(part * share for part, share in zip(linear(color), line, strict=True))))
        for line in SIGHTS[sight]
    )
    white = (0.9505, 1.0, 1.089)
    xyz = (
        0.4124 * red + 0.3576 * green + 0.1805 * blue,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        0.0193 * red + 0.1192 * green + 0.9505 * blue,
    )
    parts = [part / full for part, full in zip(xyz, white, strict=True)]
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in parts)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def luminance(color: str) -> float:
    red, green, blue = linear(color)
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


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("pair", list(itertools.combinations(SERIES, 2)), ids=" ".join)
def test_lines_are_told_apart_by_those_who_do_not_see_all_colours(pair: tuple[str, str], sight: str) -> None:
    one, other = (seen(color, sight) for color in pair)
    assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 >= 15


@pytest.mark.parametrize("color", SERIES)
def test_lines_are_seen_on_dark_pages_and_most_on_light_ones_too(color: str) -> None:
    assert contrast(color, DARK) >= 3
    assert contrast(color, WHITE) >= (3 if color in SERIES[:4] else 2.2)
