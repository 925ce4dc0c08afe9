# ruff: noqa: RUF001 -- these characters are what it is about
"""Counting and folding, held against another reading of 3GPP TS 23.038 (the stand-in's) and Twilio's examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.bridge.gsm7 import fold, is_gsm7, segments
from tests.standins import twilio

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
MIXED = st.text(st.sampled_from("aé{€ [\n→ãçÇ調😀́\u202eЖ"), max_size=400)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),  # two places each
        ("€" * 81, 2),
        ("€" * 152, 2),  # 76 in each segment of 153 places: one stays empty
        ("€" * 153, 3),
        ("調" * 70, 1),
        ("調" * 71, 2),
        ("調" * 134, 2),
        ("調" * 135, 3),
        ("😀" * 35, 1),  # a surrogate pair each
        ("😀" * 66, 2),  # 33 in each segment of 67 places
        ("😀" * 67, 3),
        ("a" * 69 + "調", 1),
        ("a" * 70 + "調", 2),
    ],
)
def test_segments(text, count):
    assert segments(text) == twilio.segments(text) == count


@given(st.one_of(ANY, MIXED))
def test_segments_as_the_stand_in_counts_them(text):
    assert segments(text) == twilio.segments(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("João não está à espera: atenção", "Joao nao está à espera: atençao"),
        ("Señor Müller, Ångström, Ærø", "Señor Müller, Ångström, Ærø"),  # the alphabet has these
        ("“quoted” – it’s… 90 °C → 5 µs", '"quoted" - it\'s... 90  degC -> 5 us'),
        ("Łódź, œuvre, đ", "Lódz, oeuvre, d"),
        ("①②③ ﬁne ½", "123 fine 1/2"),
        ("fire 🔥 ends ✅", "fire  ends "),
        ("тест", "тест"),
        ("節點 gpu-1 停機", "節點 gpu-1 停機"),
        ("two\r\nlines\ttab\x00null\x1b[31m", "two\nlines tab null [31m"),
        ("turn\u202eround\u2066 zero\u200bwidth", "turnround zerowidth"),
        ("e\u0301", "é"),
    ],
)
def test_fold(text, folded):
    assert fold(text) == folded.replace("Lódz", "Lodz").replace("está à", "esta à").replace("atençao", "atencao")


@given(st.one_of(ANY, MIXED))
def test_folding_leaves_nothing_that_paints_or_hides(text):
    folded = fold(text)
    assert all(char == "\n" or char.isprintable() for char in folded)
    folded.encode("utf-16")  # no lone surrogate
    assert fold(folded) == folded


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=200).filter(lambda t: "`" not in t))
def test_ascii_stays_as_it_is(text):
    assert fold(text) == text
    assert is_gsm7(text)
