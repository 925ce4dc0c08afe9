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
async def backends(stage: Stage, urls: list[str]) -> AsyncIterator[None]:
    """Its addresses of Ollama are these: {ollama} stands for the right one, {port} for its port, {dead} for nobody."""
    chat = stage.openwebui
    assert chat is not None
    port, dead = chat.ollama_url.rpartition(":")[2], f"http://127.0.0.1:{free_port()}"
    filled = [url.format(ollama=chat.ollama_url, port=port, dead=dead) for url in urls]
    await asyncio.to_thread(chat.admin.configure, "/ollama/config", OLLAMA_BASE_URLS=filled)
    yield
    await asyncio.to_thread(chat.admin.configure, "/ollama/config", OLLAMA_BASE_URLS=[chat.ollama_url])


@action
async def lose_key_file(stage: Stage) -> AsyncIterator[None]:
    """The file with the API key is gone."""
    chat = stage.openwebui
    assert chat is not None
    away = chat.key_file.with_name("away")
    chat.key_file.rename(away)
    yield
    away.rename(chat.key_file)


@action
async def lose_data(stage: Stage) -> AsyncIterator[None]:
    """It starts without its data, as after a volume that was not mounted."""
    chat = stage.openwebui
    assert chat is not None
    await asyncio.to_thread(chat.restart_with, "empty")
    yield
    await asyncio.to_thread(chat.restart_with, "data")
