"""Older Open WebUI, on request: each version is an installation of 1.7 GB.

`OPENWEBUI_OLDER="0.6.36 0.8.5" pytest -m real tests/real/test_openwebui_older.py`; --update-golden records them.
0.6.36 has no /ready, no analytics, no leaderboard; in 0.8.5 /api/tasks is open to every user.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.real.ollama_server import OllamaServer
from tests.real.openwebui_server import HeldProvider, running
from tests.real.test_openwebui import TINY, Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]
_NONE = pytest.param(
    "", marks=pytest.mark.skip(reason='no versions asked for: OPENWEBUI_OLDER="0.6.36 0.8.5"'), id="none"
)


@pytest.mark.parametrize("version", os.environ.get("OPENWEBUI_OLDER", "").split() or [_NONE])
async def test_an_older_version(
    version: str, ollama_server: OllamaServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = tuple(int(part) for part in version.split("."))
    provider = HeldProvider()
    environment = {"OLLAMA_BASE_URLS": ollama_server.url, "OPENAI_API_BASE_URLS": provider.url}
    try:
        with running(tmp_path, version, **environment) as server:
            scene = Scene(server, ollama_server, provider, "http://127.0.0.1:9", tmp_path)
            await _holds(scene, number)
            if request.config.getoption("--update-golden"):
                await scene.record(version)
    finally:
        provider.close()


async def _holds(scene: Scene, number: tuple[int, ...]) -> None:
    before = await scene.look(key=False)
    assert before.value("onboarding_pending") == 1
    assert before.value("ready") == (1 if number >= (0, 8, 11) else None)

    scene.admin = scene.server.sign_up("Ada-SENTINEL")
    scene.admin.allow_keys()
    scene.key_file.write_text(scene.admin.make_key())
    bea = scene.admin.add("Bea-SENTINEL", "user")
    scene.admin.store(TINY, 11, 7)
    bea.rate(TINY, 1, ["other:latest"])
    look = await scene.look()
    assert not look.failed, look.collection.error
    assert look.key_status == {"ok"}
    assert look.by("users", "role") == {"admin": 1, "user": 1, "pending": 0, "other": 0}
    assert look.value("backend_up", backend=urlsplit(scene.ollama.url).netloc, kind="ollama") == 1
    analytics = number >= (0, 8, 0)
    assert look.value("analytics_available") == analytics
    assert look.value("chats") == (1 if analytics else None)
    assert look.value("model_tokens", model=TINY, type="output") == (7 if analytics else None)
    assert look.value("users_active", window="3m") == (1 if analytics else None)
    assert look.value("feedbacks") == (1 if number >= (0, 6, 42) else None)
    assert look.value("leaderboard_comparisons", model=TINY, result="won") == (1 if number >= (0, 7, 0) else None)
    assert "sentinel" not in look.text.lower()

    scene.key_file.write_text(bea.make_key())
    assert (await scene.look()).key_status == {"not_admin"}
    scene.key_file.write_text("sk-nonsense")
    assert (await scene.look()).key_status == {"invalid"}
    scene.key_file.write_text(scene.admin.make_key())
