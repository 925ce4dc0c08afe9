"""Messages, tokens, models, feedback: totals that fall, and counters that do not."""

from __future__ import annotations

import pytest

from exporter.collectors import openwebui_usage
from exporter.collectors.openwebui_access import GATE
from exporter.collectors.openwebui_usage import (
    Amounts,
    ModelNames,
    Seen,
    Usage,
    answering_ollamas,
    leaderboard,
    models,
    read_messages,
    read_tokens,
)
from exporter.errors import CollectError, Reason
from tests.exporter.fakes import values
from tests.exporter.openwebui.recorded import HTML, FakeHttp, answer, collector, recording


def tokens(**models: tuple[int, int]) -> Amounts:
    entries = [{"model_id": m, "input_tokens": i, "output_tokens": o} for m, (i, o) in models.items()]
    return read_tokens({"models": entries})


def seen(usage: Usage) -> dict[str, float]:
    return {key.removeprefix("openwebui_model_"): value for key, value in values(usage.seen()).items()}


def test_history_is_not_replayed_and_deletions_do_not_count() -> None:
    usage = Usage(ModelNames())
    totals = []
    for stored in ((100, 10), (130, 12), (90, 4), (95, 4)):
        usage.tokens(tokens(a=stored))
        totals.append(
            (seen(usage)['tokens_seen{model="a",type="input"}'], seen(usage)['tokens_seen{model="a",type="output"}'])
        )
    assert totals == [(0, 0), (30, 2), (30, 2), (35, 2)]


def test_a_model_that_is_new_stands_at_zero_for_one_look() -> None:
    names = ModelNames()
    counter = Seen(names)
    shown = []
    for stored in ({}, {"new": 40.0}, {"new": 50.0}, {}, {"new": 7.0}):
        counter.look(stored)
        shown.append(counter.total.get(names.labels("new")))
    assert shown == [None, 0, 50, 50, 57]


def test_gauges_fall() -> None:
    usage = Usage(ModelNames())
    key = 'openwebui_model_tokens{model="a",type="input"}'
    assert values(usage.tokens(tokens(a=(100, 10))))[key] == 100
    assert values(usage.tokens(tokens(a=(40, 10))))[key] == 40


@pytest.mark.parametrize("bad", [None, "12", -1, True, float("nan"), float("inf"), [1]])
def test_a_number_of_the_wrong_type_is_absent(bad: object) -> None:
    usage = Usage(ModelNames())
    found = values(
        usage.messages(
            read_messages({"models": [{"model_id": "a", "count": bad, "unique_users": 1, "unique_chats": bad}]})
        )
    )
    assert found == {'openwebui_model_users{model="a"}': 1}


def test_two_entries_of_one_model_are_one_series() -> None:
    entry = {"model_id": "a", "count": 1, "unique_users": 1, "unique_chats": 1}
    found = Usage(ModelNames()).messages(read_messages({"models": [entry, {**entry, "count": 2}]}))
    assert [len(family.samples) for family in found] == [1, 1, 1]


def test_models_beyond_the_cap_share_a_label_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openwebui_usage, "NAMED_MODELS", 2)
    usage = Usage(ModelNames())
    first = values(usage.tokens(tokens(a=(50, 0), b=(40, 0), c=(30, 0), d=(20, 0))))
    assert first['openwebui_model_tokens{model="(other)",type="input"}'] == 50
    usage.tokens(tokens(c=(1000, 0), a=(60, 0), d=(21, 0), b=(40, 0)))
    found = seen(usage)
    assert found['tokens_seen{model="(other)",type="input"}'] == 971
    assert found['tokens_seen{model="a",type="input"}'] == 10
    assert not [key for key in found if '"c"' in key]


def test_names_that_come_and_go_do_not_pile_up() -> None:
    usage = Usage(ModelNames())
    usage.tokens(tokens())
    for look in range(20):
        usage.tokens(tokens(**{f"{look}-{number}": (10, 1) for number in range(200)}))
    found = seen(usage)
    assert len(found) <= 2 * (openwebui_usage.NAMED_MODELS + 1)
    assert found['tokens_seen{model="(other)",type="input"}'] == 10 * (20 * 200 - 500 - 1)


def test_a_sum_beyond_all_numbers_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openwebui_usage, "NAMED_MODELS", 0)
    assert values(Usage(ModelNames()).tokens(tokens(a=(1.7e308, 1), b=(1.7e308, 2)))) == {
        'openwebui_model_tokens{model="(other)",type="output"}': 3
    }


def test_a_model_called_like_the_bucket_does_not_double_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openwebui_usage, "NAMED_MODELS", 2)
    entries = [{"model_id": name, "input_tokens": 1} for name in ("a", "(other)", "b", "c")]
    family = Usage(ModelNames()).tokens(read_tokens({"models": entries}))[0]
    assert sorted((dict(labels.pairs)["model"], value) for labels, value in family.samples) == [
        ("(other)", 2),
        ("a", 1),
        ("b", 1),
    ]


def test_model_names_share_labels_with_the_leaderboard() -> None:
    names = ModelNames()
    found = leaderboard(
        {"entries": [{"model_id": "a", "rating": 990, "won": 1, "lost": 2, "top_tags": [{"tag": "x"}]}]}, names
    )
    assert found[0].samples[0][0] is names.labels("a")
    assert values(found) == {
        'openwebui_leaderboard_rating{model="a"}': 990,
        'openwebui_leaderboard_comparisons{model="a",result="won"}': 1,
        'openwebui_leaderboard_comparisons{model="a",result="lost"}': 2,
    }


def test_owners_are_a_fixed_set() -> None:
    body = {"data": [{"owned_by": owner} for owner in ("ollama", "ollama", "arena", "ana@example.com", None, {})]}
    assert list(values(models(body)).values()) == [2, 0, 1, 3]


def test_which_ollamas_gave_their_models() -> None:
    body = {"data": [{"ollama": {"urls": [0, 2, "x"]}}, {"ollama": None}, {"openai": {}}, {"ollama": {"urls": 1}}]}
    assert answering_ollamas(body) == {0, 2}


@pytest.mark.parametrize("summary", [HTML, answer({"detail": "Not Found"}, 404)])
async def test_analytics_that_are_switched_off_are_no_error_and_no_zeros(summary: object) -> None:
    http, now = recording("0.12.4")
    http.answers |= {"/api/v1/analytics/summary": summary}  # type: ignore[dict-item]
    assert values(await collector(http, now=now).parts()["analytics"].ask()) == {"openwebui_analytics_available": 0}


async def test_a_web_page_from_something_that_is_not_open_webui_is_an_error() -> None:
    http = FakeHttp({GATE: answer({})})
    with pytest.raises(CollectError) as caught:
        await collector(http).parts()["analytics"].ask()
    assert caught.value.reason is Reason.NOT_JSON


async def test_a_web_page_in_place_of_later_analytics_is_an_error() -> None:
    http, now = recording("0.12.4")
    http.answers["/api/v1/analytics/tokens"] = HTML
    whole = collector(http, now=now)
    with pytest.raises(CollectError) as caught:
        await whole.parts()["analytics"].ask()
    assert caught.value.reason is Reason.NOT_JSON


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("0.6.41", []),
        ("0.6.42", ["feedbacks/all/ids"]),
        ("0.7.0", ["feedbacks/all/ids", "leaderboard"]),
        ("0.12.4", ["feedbacks/all/ids", "leaderboard"]),
    ],
)
async def test_routes_are_asked_only_of_versions_that_have_them(version: str, asked: list[str]) -> None:
    http, now = recording("0.12.4")
    http.answers["/api/version"] = answer({"version": version})
    await collector(http, now=now).parts()["feedback"].ask()
    evaluations = [path for path in http.paths(key=True) if "evaluations" in path and path != GATE]
    found = [path.removeprefix("/api/v1/evaluations/") for path in evaluations]
    assert found == asked


def test_more_models_than_can_be_real_are_refused() -> None:
    with pytest.raises(CollectError, match="at most 100000 are read") as caught:
        read_messages({"models": [{}] * 100_001})
    assert caught.value.reason is Reason.TOO_LARGE
