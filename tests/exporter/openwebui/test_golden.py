"""What recordings of a real server become.

New recordings: `pytest -m real tests/real/test_openwebui.py --update-golden`, then `pytest --update-golden` here.
"""

from __future__ import annotations

import pytest

from tests.exporter.golden import Golden
from tests.exporter.openwebui.recorded import collector, recording


@pytest.mark.parametrize("version", ["0.12.4", "0.12.4-empty", "0.8.5", "0.6.36"])
async def test_a_recorded_server_gives_its_golden(golden: Golden, version: str) -> None:
    http, now = recording(version)
    await golden.check(collector(http, now=now), version)


async def test_without_a_key_the_public_part_is_given_and_no_key_is_sent(golden: Golden) -> None:
    http, now = recording("0.12.4-onboarding")
    await golden.check(collector(http, key=False, now=now), "0.12.4-onboarding")
    assert http.paths(key=True) == []


async def test_public_calls_never_carry_the_key() -> None:
    http, now = recording("0.12.4")
    for part in collector(http, now=now).parts().values():
        await part.ask()
    assert set(http.paths(key=False)) == {"/health", "/api/version", "/ready", "/api/config"}
    assert not set(http.paths(key=False)) & set(http.paths(key=True))


async def test_the_full_text_of_chats_is_never_asked_for() -> None:
    http, now = recording("0.12.4")
    for part in collector(http, now=now).parts().values():
        await part.ask()
    assert not [path for path, _ in http.calls if "/chats" in path or "export" in path]
