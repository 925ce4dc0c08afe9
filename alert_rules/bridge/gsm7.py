"""The alphabets of SMS: what a text costs in segments, and how to write it in the cheaper one.

3GPP TS 23.038 has the 7-bit alphabet: 160 characters in one SMS, 153 in each of several. One character outside it makes
the whole text UCS-2: 70, and 67 in each of several.
"""

# ruff: noqa: RUF001 -- these characters are what it is about
from __future__ import annotations

import re
import unicodedata
from functools import cache

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("^{}\\[~]|€\f")
"""These take two places each: an escape and the character."""

# What Unicode's own decompositions do not give.
_SAID_OTHERWISE = {
    "‘": "'", "’": "'", "‚": ",", "‛": "'", "`": "'", "´": "'", "′": "'",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "″": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-",
    "→": "->", "←": "<-", "⇒": "=>", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "×": "x", "÷": "/", "±": "+-",
    "⁄": "/", "•": "*", "·": ".", "°": " deg", "µ": "u", "μ": "u", "©": "(c)", "®": "(r)", "ı": "i", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "œ": "oe", "Œ": "OE",
}  # fmt: skip
_SINGLE, _JOINED = 160, 153
_SINGLE_UCS2, _JOINED_UCS2 = 70, 67
_BEYOND_BMP = 0xFFFF
_MISSING = "\0"
_MISSED = re.compile("\0+")


def is_gsm7(text: str) -> bool:
    """Whether the 7-bit alphabet can write the text."""
    return all(char in BASIC or char in EXTENSION for char in text)


def segments(text: str) -> int:
    """How many segments the text is sent as. No character is torn between two, which may leave places unused."""
    gsm7 = is_gsm7(text)
    single, joined = (_SINGLE, _JOINED) if gsm7 else (_SINGLE_UCS2, _JOINED_UCS2)
    sizes = [_places(char, gsm7=gsm7) for char in text]
    if sum(sizes) <= single:
        return 1
    count, used = 1, 0
    for size in sizes:
        if used + size > joined:
            count, used = count + 1, 0
        used += size
    return count


def fold(text: str, *, at_any_price: bool = False) -> str:
    """The text as an SMS should carry it: in the 7-bit alphabet where that loses nothing but accents and ornaments.

    A text with letters of another script stays as it is, or has `?` for them `at_any_price`. Line breaks stay; other
    controls, and what reorders text on a screen, go.
    """
    clean = unicodedata.normalize("NFC", "".join(map(_visible, text.replace("\r\n", "\n"))))
    folded = [_folded(char) for char in clean]
    if None in folded and not at_any_price:
        return clean
    return _MISSED.sub("?", "".join(_MISSING if part is None else part for part in folded))


def _places(char: str, *, gsm7: bool) -> int:
    if gsm7:
        return 2 if char in EXTENSION else 1
    return 2 if ord(char) > _BEYOND_BMP else 1


def _visible(char: str) -> str:
    if char == "\n":
        return char
    kind = unicodedata.category(char)
    if kind in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    return "" if kind.startswith("C") else char


@cache
def _folded(char: str) -> str | None:
    """How the 7-bit alphabet writes a character; empty for an ornament, None for what would be missed."""
    if char in BASIC or char in EXTENSION:
        return char
    if char in _SAID_OTHERWISE:
        return _SAID_OTHERWISE[char]
    parts = [part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part)]
    if parts and parts != [char]:
        pieces = [_folded(part) for part in parts]
        return None if None in pieces else "".join(piece for piece in pieces if piece is not None)
    return None if unicodedata.category(char)[0] in "LN" else ""
