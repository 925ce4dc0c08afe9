"""Nothing personal and no secret leaves: not as a label, not in a message, not in the log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from exporter.collectors.base import Answer
from exporter.families import encode
from exporter.scrape import Watch
from provisioning.config.targets import OpenWebUITarget
from tests.exporter.openwebui.recorded import FakeHttp, answer, collector, recording

SECRETS = ("sentinel", "@example.com", "sk-")


def poisoned(value: Any) -> Any:
    """The same JSON with every text and every object key that decoders do not need turned into a secret."""
    if isinstance(value, dict):
        return {key: poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return "SENTINEL sk-SENTINEL somebody@example.com" if isinstance(value, str) else value


async def shown(http: FakeHttp, caplog: pytest.LogCaptureFixture) -> str:
    """Everything that a collection lets out."""
    caplog.set_level(logging.DEBUG)
    target = OpenWebUITarget(name="chat", url="http://openwebui.test:3000", api_key_file="unused")
    watch = Watch(target, collector(http))
    collection = await watch.collect(5)
    await watch.close()
    texts = [encode(collection.families, openmetrics=True), caplog.text]
    texts += [f"{outcome.error!r}" for outcome in collection.outcomes.values() if outcome.error]
    return "\n".join(texts).lower()


async def test_a_real_recording_full_of_names_and_keys_shows_none(caplog: pytest.LogCaptureFixture) -> None:
    http, _ = recording("0.12.4")
    bodies = b"".join(found.body for found in http.answers.values() if isinstance(found, Answer)).decode().lower()
    assert all(secret in bodies for secret in SECRETS), "the recording holds what must not come out"
    text = await shown(http, caplog)
    assert "openwebui_model_tokens" in text
    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 503])
async def test_answers_of_nothing_but_secrets_show_none(status: int, caplog: pytest.LogCaptureFixture) -> None:
    http, _ = recording("0.12.4")
    for path, found in http.answers.items():
        assert isinstance(found, Answer)
        body = poisoned(json.loads(found.body))
        if path in ("/api/v1/analytics/models", "/api/v1/analytics/tokens", "/api/v1/evaluations/leaderboard"):
            continue  # their model names are labels by design
        if path in ("/api/version", "/health"):
            continue
        http.answers[path] = answer(
            body if status == 200 else {"detail": poisoned("x"), "error": poisoned("y")}, status
        )
    text = await shown(http, caplog)
    assert not [secret for secret in SECRETS if secret in text]


async def test_a_provider_key_in_an_address_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    http, _ = recording("0.12.4")
    http.answers["/openai/config"] = answer(
        {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": ["https://sentinel:sk-sentinel@gw.test/v1/sk-sentinel?key=sentinel"],
            "OPENAI_API_KEYS": ["sk-sentinel"],
            "OPENAI_API_CONFIGS": {"0": {"key": "sk-sentinel", "tags": [{"name": "sentinel"}]}},
        }
    )
    text = await shown(http, caplog)
    assert 'backend="gw.test:443"' in text
    assert not [secret for secret in SECRETS if secret in text]


async def test_no_key_or_address_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    http, now = recording("0.12.4")
    whole = collector(http, now=now)
    for part in whole.parts().values():
        await part.ask()
    kept = repr(_everything(whole, skip=http, seen=set())).lower()
    assert "tiny:latest" in kept, "the walk sees what the collector keeps"
    assert not [secret for secret in SECRETS if secret in kept]


def _everything(value: object, *, skip: object, seen: set[int]) -> list[object]:
    """Every text reachable from an object."""
    if value is skip or id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, str | bytes):
        return [value]
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    else:
        names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        inner = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in names)]
        if type(value).__module__.split(".")[0] != "exporter":
            return []
    return [text for each in inner for text in _everything(each, skip=skip, seen=seen)]
