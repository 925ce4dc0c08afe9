"""How much a loaded model can hold in mind: asked of Ollama itself, seldom, and off the path of requests."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from exporter.proxy.heads import ResponseHead, WrongMessageError, response_head
from exporter.proxy.messages import Messages
from exporter.proxy.upstream import Upstream
from provisioning.config.secrets import SecretError

log = logging.getLogger(__name__)
FRESH = 15.0
"""Seconds for which what Ollama said is believed: another request may load a model with another length."""
SOON = 3.0  # s between two calls for a model that was not loaded when it was asked last
TIMEOUT = 5.0  # s for a call
_MOST_WAITING = 1_000
_MOST_BYTES = 4 << 20
_LATEST = ":latest"
_OK = 200


class Contexts:
    """The context lengths of one Ollama's loaded models, from /api/ps; versions before 0.10 do not tell."""

    def __init__(self, upstream: Upstream) -> None:
        """Within a running event loop."""
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._lengths: dict[str, int] = {}
        self._asked = float("-inf")
        self._waiting: list[tuple[str, Callable[[int], None]]] = []
        self._asking: asyncio.Task[None] | None = None

    def tell(self, model: str, then: Callable[[int], None]) -> None:
        """Call `then` with the context length of a model, now or soon; never, where it is not known."""
        length = self._lengths.get(model.removesuffix(_LATEST))
        age = self._loop.time() - self._asked
        if self._asking is None and age < (SOON if length is None else FRESH):
            if length is not None:
                then(length)
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append((model, then))
            if self._asking is None:
                self._asking = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                self._lengths = dict(_lengths(await self._answer()))
        except (OSError, WrongMessageError, SecretError, ValueError, RecursionError) as error:
            log.debug("the context lengths of models are not known: %s", error)
            self._lengths = {}
        self._asked = self._loop.time()
        waiting, self._waiting, self._asking = self._waiting, [], None
        for model, then in waiting:
            length = self._lengths.get(model.removesuffix(_LATEST))
            if length is not None:
                then(length)

    async def _answer(self) -> Any:
        there = self._upstream
        head = there.rewritten(b"GET /api/ps HTTP/1.1\r\nHost: ollama\r\nConnection: close\r\n\r\n")
        reader, writer = await asyncio.open_connection(there.host, there.port, ssl=there.tls)
        try:
            writer.write(head)
            raw = b""
            while len(raw) < _MOST_BYTES and (more := await reader.read(1 << 16)):
                raw += more
        finally:
            writer.transport.abort()
        return json.loads(_body(raw))


def _body(raw: bytes) -> bytes:
    """Of a whole answer with status 200. Raises WrongMessageError."""
    status = 0

    def parse(head: bytes) -> tuple[ResponseHead, Any]:
        nonlocal status
        found = response_head(head, "GET")
        status = found.status
        return found, found.framing

    pieces = Messages(parse).feed(raw)
    if status != _OK:
        raise WrongMessageError(f"/api/ps answers with status {status}")
    return b"".join(part for piece in pieces for part in piece.content)


def _lengths(said: Any) -> Iterator[tuple[str, int]]:
    models = said.get("models") if isinstance(said, dict) else None
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict):
            name, length = model.get("model") or model.get("name"), model.get("context_length")
            if isinstance(name, str) and isinstance(length, int) and length > 0:
                yield name.removesuffix(_LATEST), length
