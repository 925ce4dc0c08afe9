"""What goes wrong with Open WebUI's settings, changed as its administrator changes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tests.gameday.actions.registry import action
from tests.gameday.stage import Stage
from tests.ports import free_port

_ADMIN = "/api/v1/auths/admin/config"


@action
async def revoke_key(stage: Stage) -> AsyncIterator[None]:
    """The administrator makes another key, and the exporter still has the first; then it is given the new one."""
    chat = stage.openwebui
    assert chat is not None
    key = await asyncio.to_thread(chat.admin.make_key)
    yield
    chat.key_file.write_text(key + "\n")


@action
async def settings(stage: Stage, set: dict[str, object], back: dict[str, object]) -> AsyncIterator[None]:
    """Settings of the administrator's page, and what they are set to when it is over."""
    chat = stage.openwebui
    assert chat is not None
    await asyncio.to_thread(chat.admin.configure, _ADMIN, **set)
    yield
    await asyncio.to_thread(chat.admin.configure, _ADMIN, **back)


@action
async def wrong_backend(stage: Stage) -> AsyncIterator[None]:
    """Its address of Ollama is one where nobody listens; Ollama itself is well."""
    chat = stage.openwebui
    assert chat is not None
    urls = [f"http://127.0.0.1:{free_port()}"]
    await asyncio.to_thread(chat.admin.configure, "/ollama/config", OLLAMA_BASE_URLS=urls)
    yield
    await asyncio.to_thread(chat.admin.configure, "/ollama/config", OLLAMA_BASE_URLS=[chat.ollama_url])
