"""The part that needs no key: liveness, readiness, and how open the doors are."""

from __future__ import annotations

import pytest

from exporter.collectors.base import Answer, Outcome
from exporter.collectors.openwebui_access import GATE
from exporter.collectors.openwebui_answers import Version, version_of
from exporter.collectors.openwebui_public import doors, ready
from exporter.errors import CollectError, Reason
from tests.exporter.fakes import values
from tests.exporter.openwebui.recorded import HTML, FakeHttp, answer, collector, recording

NEW: Version = (0, 12, 4)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.12.4", (0, 12, 4)),
        ("v0.8.11", (0, 8, 11)),
        ("0.9.0-dev3", (0, 9, 0)),
        ("main", None),
        ("", None),
        ("9" * 5000 + ".1.1", None),
    ],
)
def test_versions(text: str, number: Version | None) -> None:
    assert version_of(text) == number


@pytest.mark.parametrize(
    ("detail", "part"),
    [
        ("Startup not complete", "startup"),
        ("Database not ready", "database"),
        ("Redis not ready", "redis"),
        ("Vector store not ready", "unknown"),
    ],
)
def test_which_part_is_not_ready(detail: str, part: str) -> None:
    found = values(ready(answer({"detail": detail}, 503), NEW))
    assert found.pop("openwebui_ready") == 0
    assert {key for key, value in found.items() if value} == {f'openwebui_not_ready{{part="{part}"}}'}
    assert len(found) == 4


@pytest.mark.parametrize("gone", [HTML, answer({"detail": "Not Found"}, 404)])
def test_a_version_without_ready_leaves_it_unknown(gone: Answer) -> None:
    assert ready(gone, (0, 8, 10)) == []


@pytest.mark.parametrize("number", [(0, 8, 11), NEW, None])
def test_the_web_page_in_place_of_ready_is_an_error(number: Version | None) -> None:
    with pytest.raises(CollectError) as caught:
        ready(HTML, number)
    assert caught.value.reason is Reason.NOT_JSON


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Answer(503, "text/html", b"<h1>Service Unavailable</h1>"), Reason.SERVER_ERROR),
        (Answer(502, "text/html", b"bad gateway"), Reason.SERVER_ERROR),
        (answer({"detail": "no"}, 403), Reason.CLIENT_ERROR),
        (answer({"status": False}), Reason.SHAPE),
        (answer(["status"]), Reason.SHAPE),
    ],
)
def test_other_answers_to_ready_are_errors(other: Answer, reason: Reason) -> None:
    with pytest.raises(CollectError) as caught:
        ready(other, NEW)
    assert caught.value.reason is reason


def features(**changes: object) -> dict[str, object]:
    whole = {"auth": True, "enable_signup": True, "enable_login_form": True, **changes}
    return {"features": {key: value for key, value in whole.items() if value is not ...}}


@pytest.mark.parametrize(
    ("body", "signup"),
    [
        (features(), 1),
        (features(enable_signup=False), 0),
        (features(enable_login_form=False), 0),
        (features(enable_login_form=...), 1),
        (features(auth=False), 0),
        (features(enable_signup=...), None),
        (features(enable_signup="yes"), None),
        (features(enable_signup=..., enable_login_form=False), 0),
    ],
)
def test_when_sign_up_is_open(body: dict[str, object], signup: float | None) -> None:
    assert values(doors(body)).get("openwebui_signup_open") == signup


def test_onboarding_and_no_authentication() -> None:
    found = values(doors({"onboarding": True, **features(auth=False)}))
    assert found["openwebui_onboarding_pending"] == 1
    assert found["openwebui_auth_enabled"] == 0
    assert values(doors(features()))["openwebui_onboarding_pending"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health", HTML),
        ("/health", answer({"status": "fine"})),
        ("/health", answer({"detail": "Not Found"}, 404)),  # an Ollama at that address
        ("/api/version", answer({"deployment_id": ""})),
        ("/api/version", HTML),
        ("/api/version", CollectError(Reason.REFUSED, "refused")),
    ],
)
async def test_it_is_up_only_when_it_answers_as_itself(path: str, body: Answer | CollectError) -> None:
    http, now = recording("0.12.4")
    http.answers[path] = body
    whole = collector(http, now=now)
    with pytest.raises(CollectError):
        await whole.parts()["health"].ask()


def test_a_failing_part_is_not_an_outage() -> None:
    whole = collector(FakeHttp({}))
    failed = Outcome(0.1, CollectError(Reason.TIMEOUT, "slow"))
    fine = Outcome(0.1)
    assert whole.is_up({"health": fine, "ready": failed, "key": failed})
    assert not whole.is_up({"health": failed, "ready": fine, "key": fine})


async def test_calls_that_parts_share_end_by_themselves() -> None:
    http, now = recording("0.12.4")
    for part in collector(http, now=now, timeout="7s").parts().values():
        await part.ask()
    shared = ("/health", "/api/version", GATE)
    assert [http.timeouts[path] for path in shared] == [7, 7, 7], "nobody's deadline cancels a shared call"
