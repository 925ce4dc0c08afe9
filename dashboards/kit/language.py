"""The language of the pages: their texts are written in English, and said in another from a catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml

ENGLISH = "en"
LANGUAGES = (ENGLISH, "pt")
"""What `grafana: language:` may be; each but English has a file of messages in `dashboards/texts`."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_FILLED_IN = re.compile(r"\{\{\w+\}\}")
_WORD = re.compile(r"[A-Za-z]{2}")
_messages: ContextVar[Mapping[str, str]] = ContextVar("messages", default=_NOTHING)


def say(text: str) -> str:
    """`text` in the language of the page that is being made; in English where the catalogue lacks it.

    What has no words, such as `{{target}}: `, is the same in all.
    """
    return _messages.get().get(text, text) if _WORD.search(_FILLED_IN.sub("", text)) else text


@contextmanager
def spoken(messages: Mapping[str, str]) -> Iterator[None]:
    """Pages made within speak by these messages, English to the other language."""
    before = _messages.set(messages)
    try:
        yield
    finally:
        _messages.reset(before)


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Every message of a language by its English; raises KeyError for a language that there is not."""
    if language == ENGLISH:
        return _NOTHING
    if language not in LANGUAGES:
        raise KeyError(language)
    pairs = yaml.safe_load(files("dashboards").joinpath(f"texts/{language}.yml").read_text(encoding="utf-8"))
    return MappingProxyType({pair["en"]: pair["said"] for pair in pairs})
