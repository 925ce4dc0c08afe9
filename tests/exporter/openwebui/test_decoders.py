"""Whatever an upstream sends, a decoder gives families without doubled series, or raises CollectError."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.base import Answer
from exporter.collectors.openwebui_access import refusal, state_of
from exporter.collectors.openwebui_answers import content, detail
from exporter.collectors.openwebui_backends import backends
from exporter.collectors.openwebui_people import groups, own_id, users
from exporter.collectors.openwebui_public import doors, ready
from exporter.collectors.openwebui_usage import (
    ModelNames,
    Usage,
    answering_ollamas,
    chats,
    feedbacks,
    leaderboard,
    models,
    read_messages,
    read_tokens,
)
from exporter.errors import CollectError
from exporter.families import Family, encode
from tests.exporter.golden import assert_parses

KEYS = st.sampled_from(
    """users id role last_active_at member_count features auth enable_signup enable_login_form onboarding status models
    model_id count unique_users unique_chats input_tokens output_tokens data owned_by ollama urls entries rating won
    lost total_chats detail ENABLE_OLLAMA_API OLLAMA_BASE_URLS OLLAMA_API_CONFIGS ENABLE_OPENAI_API OPENAI_API_BASE_URLS
    OPENAI_API_CONFIGS enable provider 0""".split()  # noqa: SIM905 -- a list of one name a line hides the rest
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["http://[x", "admin"])


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=5)


NAMED = st.fixed_dictionaries(
    {"model_id": st.text()}, optional={"count": LEAVES, "won": LEAVES, "input_tokens": LEAVES}
)
ENTRIES = st.lists(NAMED | st.dictionaries(KEYS, LEAVES))
LISTINGS = st.builds(lambda entries: dict.fromkeys(("models", "entries", "data", "users"), entries), ENTRIES)
JSON = st.recursive(LEAVES, _nested, max_leaves=30) | LISTINGS
SAID = [b'{"detail":"Redis not ready"}', b'{"detail":1}', b"[" * 9999, b'{"status":true}']
BODIES = st.binary() | st.sampled_from(SAID)
STATUSES = st.sampled_from([200, 401, 403, 404, 500, 503])
TYPES = st.sampled_from(["application/json", "text/html", ""])
ANSWERS = st.builds(Answer, STATUSES, TYPES, BODIES)
VERSIONS = st.none() | st.just((0, 8, 0)) | st.just((0, 12, 4))


def families_of(decode: Callable[[Any], object], body: Any) -> None:
    """`decode` may only raise CollectError, and what it gives is an exposition that parsers read."""
    try:
        found = decode(body)
    except CollectError as error:
        message = str(error)
    else:
        message = "fine"
        if isinstance(found, list) and all(isinstance(family, Family) for family in found):
            assert_parses(encode(found, openmetrics=False), encode(found, openmetrics=True) + "# EOF\n")
    assert message
    assert "\n" not in message


@given(JSON)
def test_bodies(body: Any) -> None:
    usage, names = Usage(ModelNames()), ModelNames()

    def looked_at_twice(body: Any) -> list[Family]:
        usage.messages(read_messages(body))
        usage.tokens(read_tokens(body))
        return [*usage.messages(read_messages(body)), *usage.tokens(read_tokens(body)), *usage.seen()]

    for decode in (
        looked_at_twice, chats, models, feedbacks, groups, doors, answering_ollamas,
        partial(leaderboard, names=names),
        partial(users, own_id="a", now=1.8e9),
        partial(own_id, path="/x"),
        partial(backends, "ollama"),
        partial(backends, "openai"),
    ):  # fmt: skip
        families_of(decode, body)


@given(ANSWERS, VERSIONS)
def test_raw_answers(answer: Answer, version: tuple[int, int, int] | None) -> None:
    content(answer)
    detail(answer)
    state_of(answer)
    assert "\n" not in str(refusal(answer, "/x"))
    families_of(partial(ready, number=version), answer)
