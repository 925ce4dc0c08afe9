"""What is found on Open WebUI servers."""

from __future__ import annotations

import pytest

from tests.exporter.doctor.servers import found, js, openwebui, page, serving

ADMIN = {
    "/api/v1/evaluations/config": js({"ENABLE_EVALUATION_ARENA_MODELS": False}),
    "/api/usage": js({"user_count": 0, "model_ids": []}),
    "/api/tasks": js({"tasks": []}),
    "/api/models": js({"data": []}),
    "/api/v1/users/": js({"users": [], "total": 0}),
    "/api/v1/users/user/status": js({"id": "me"}),
    "/api/v1/users/all": js({"users": [], "total": 0}),
    "/api/v1/groups/": js([]),
    "/api/v1/analytics/summary": js({"total_chats": 0}),
    "/api/v1/analytics/models": js({"models": []}),
    "/api/v1/analytics/tokens": js({"models": []}),
    "/api/v1/evaluations/feedbacks/all/ids": js([]),
    "/api/v1/evaluations/leaderboard": js({"entries": []}),
    "/ollama/config": js({"ENABLE_OLLAMA_API": False, "OLLAMA_BASE_URLS": [], "OLLAMA_API_CONFIGS": {}}),
    "/openai/config": js({"ENABLE_OPENAI_API": False, "OPENAI_API_BASE_URLS": [], "OPENAI_API_CONFIGS": {}}),
}


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-0123456789abcdef")
    path.chmod(0o600)
    return path


async def look(answers, **target):
    async with serving(answers) as port:
        return await found("openwebui", url=f"http://127.0.0.1:{port}", **target)


async def test_nothing_is_found_on_a_good_server(key):
    assert await look(openwebui() | ADMIN, api_key_file=key) == {}


async def test_no_key():
    assert list(await look(openwebui())) == ["openwebui-no-key"]


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (401, "Your session has expired or the token is invalid. Please sign in again.", "openwebui-key-invalid"),
        (401, "You do not have permission to access this resource.", "openwebui-key-not-admin"),
        (403, "Use of API key is not enabled in the environment.", "openwebui-key-disabled"),
        (403, "You are not allowed to use this.", "openwebui-key-restricted"),
    ],
)
async def test_what_the_key_is_told(key, status, detail, expected):
    told = js({"detail": detail}, status=status)
    answers = (
        openwebui()
        | (ADMIN if "restricted" in expected else dict.fromkeys(ADMIN, told))
        | {"/api/v1/evaluations/config": told}
    )
    seen = await look(answers, api_key_file=key)
    assert list(seen) == [expected]
    assert seen[expected].severity == "error"


async def test_some_paths_are_restricted(key):
    told = js({"detail": "You are not allowed to use this."}, status=403)
    answers = openwebui() | ADMIN | {"/api/models": told, "/api/v1/groups/": told}
    seen = await look(answers, api_key_file=key)
    assert list(seen) == ["part-fails"]
    assert seen["part-fails"].seen.startswith("groups, models: Open WebUI does not let API keys use this path; allow")


async def test_a_proxy_that_refuses_is_not_open_webuis_word(key):
    refused = js("no", status=403)
    seen = await look(openwebui() | ADMIN | {"/api/v1/evaluations/config": refused}, api_key_file=key)
    assert list(seen) == ["part-fails"]
    assert "something in front of Open WebUI" in seen["part-fails"].seen


async def test_analytics_off(key):
    seen = await look(openwebui() | ADMIN | {"/api/v1/analytics/summary": page}, api_key_file=key)
    assert list(seen) == ["openwebui-analytics-off"]


async def test_a_version_without_analytics(key):
    answers = openwebui("0.7.0") | ADMIN | {"/api/v1/analytics/summary": page, "/ready": page}
    seen = await look(answers, api_key_file=key)
    assert list(seen) == ["openwebui-old"]
    assert seen["openwebui-old"].seen == "Open WebUI 0.7.0 does not tell usage by model and readiness"


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"auth": False}, "openwebui-auth-off"),
        ({"enable_signup": True}, "openwebui-signup-open"),
        ({"onboarding": True, "enable_signup": True}, "openwebui-onboarding"),
    ],
)
async def test_open_doors(key, features, expected):
    assert list(await look(openwebui(**features) | ADMIN, api_key_file=key)) == [expected]


async def test_a_broken_check_does_not_stop_the_others(key):
    seen = await look(openwebui() | ADMIN | {"/api/config": js([])}, api_key_file=key)
    assert set(seen) == {"check-failed", "part-fails"}
    assert seen["check-failed"].seen.startswith("doors: ")
