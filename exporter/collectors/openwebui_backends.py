"""Each model backend's reachability as Open WebUI itself sees it.

`/ollama/api/version/{index}` and `/openai/models/{index}` make Open WebUI call that one backend. The lists of backends
hold providers' keys in clear: only index, kind and host:port leave this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from exporter.collectors.base import Answer
from exporter.collectors.openwebui_access import Access, refusal
from exporter.collectors.openwebui_answers import SMALL, content, detail, mapping
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, gauge

OLLAMA_CONFIG = "/ollama/config"
OPENAI_CONFIG = "/openai/config"
TIMEOUT = 12.0  # s; Open WebUI itself gives up listing a backend's models after 10
KEEP = 15.0  # s between two looks at an Ollama backend, a cheap call
LONGEST_PAUSE = 900.0
MOST_BACKENDS = 200  # of one kind; each is asked by itself
_LONGEST_URL = 2_000

Kind = Literal["ollama", "openai"]


@dataclass(frozen=True, slots=True)
class Backend:
    """One configured connection."""

    kind: Kind
    index: int  # its place in Open WebUI's list, which is how a call names it
    name: str  # host:port, with #2, #3 for further connections to the same

    @property
    def path(self) -> str:
        """The call that makes Open WebUI ask this backend."""
        return f"/ollama/api/version/{self.index}" if self.kind == "ollama" else f"/openai/models/{self.index}"


@dataclass(slots=True)
class _Seen:
    """The last look at one backend."""

    labels: Labels
    up: float | None = None
    seconds: float | None = None
    due: float = 0.0
    pause: float = 0.0  # after a look without any answer


def backends(kind: Kind, answer: Any) -> list[Backend]:
    """The enabled connections in `/ollama/config` or `/openai/config`. Raises CollectError.

    Azure connections are left out: Open WebUI answers for them from its own configuration and calls nobody.
    """
    switch, urls, configs = (
        ("ENABLE_OLLAMA_API", "OLLAMA_BASE_URLS", "OLLAMA_API_CONFIGS")
        if kind == "ollama"
        else ("ENABLE_OPENAI_API", "OPENAI_API_BASE_URLS", "OPENAI_API_CONFIGS")
    )
    path = OLLAMA_CONFIG if kind == "ollama" else OPENAI_CONFIG
    whole = mapping(answer, path)
    listed = whole.get(urls)
    if not isinstance(listed, list):
        raise CollectError(Reason.SHAPE, f"{path} answered without its list of connections")
    if len(listed) > MOST_BACKENDS:
        what = f"{path} lists {len(listed)} connections; at most {MOST_BACKENDS} are asked about"
        raise CollectError(Reason.TOO_LARGE, what)
    if not whole.get(switch):
        return []
    settings = whole.get(configs)
    found: list[Backend] = []
    names: dict[str, int] = {}
    for index, url in enumerate(listed):
        name = _name(url)
        names[name] = names.get(name, 0) + 1
        unique = name if names[name] == 1 else f"{name}#{names[name]}"
        if _is_asked(settings, index, url):
            found.append(Backend(kind, index, unique))
    return found


def _is_asked(settings: Any, index: int, url: Any) -> bool:
    if not isinstance(settings, dict):
        return True
    # Before 0.5 the settings were kept by address.
    own = settings.get(str(index), settings.get(url) if isinstance(url, str) else None)
    if not isinstance(own, dict):
        return True
    return bool(own.get("enable", True)) and not own.get("azure") and own.get("provider") != "azure"


def _name(url: Any) -> str:
    """host:port of an address, without credentials, path or query, any of which may be a secret."""
    try:
        parts = urlsplit(url if isinstance(url, str) and len(url) <= _LONGEST_URL else "")  # which keeps what it split
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host = None
    if not host:
        return "invalid-address"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Backends:
    """What Open WebUI last said of each backend.

    An Ollama that accepts connections and never answers would cost Open WebUI a connection for every look, which it
    keeps open without limit (it sets no time-out on this call). Such a backend is therefore asked less and less often,
    at once again when it gave Open WebUI its models.
    """

    def __init__(self, access: Access, refresh: float, monotonic: Callable[[], float]) -> None:
        self._access = access
        self._refresh = refresh
        self._monotonic = monotonic
        self._seen: dict[tuple[Kind, str], _Seen] = {}
        self._asked: list[Backend] = []

    async def families(self) -> list[Family]:
        """Ask about the backends that are due. Raises CollectError."""
        ollama = backends("ollama", await self._access.json(OLLAMA_CONFIG))
        openai = backends("openai", await self._access.json(OPENAI_CONFIG))
        self._asked = [*ollama, *openai]
        kept, self._seen = self._seen, {}
        for backend in self._asked:
            key = (backend.kind, backend.name)
            self._seen[key] = kept.get(key) or _Seen(Labels(backend=backend.name, kind=backend.kind))
        await asyncio.gather(*(self._look(backend) for backend in self._asked))
        return self._tell()

    def answered(self, ollamas: frozenset[int]) -> None:
        """Look again soon at Ollama backends, by index, that just gave Open WebUI their models."""
        for backend in self._asked:
            if backend.kind == "ollama" and backend.index in ollamas:
                self._seen[backend.kind, backend.name].due = 0.0

    async def _look(self, backend: Backend) -> None:
        seen = self._seen[backend.kind, backend.name]
        started = self._monotonic()
        if started < seen.due:
            return
        try:
            answer = await self._access.ask(backend.path, timeout=TIMEOUT)
        except CollectError as error:
            if error.reason is not Reason.TIMEOUT:
                raise
            seen.up, seen.seconds = 0.0, None
            seen.pause = min(LONGEST_PAUSE, max(2 * KEEP, 2 * seen.pause))
            seen.due = self._monotonic() + seen.pause
            return
        seen.up = float(_reached(backend.kind, answer, backend.path))
        seen.seconds = self._monotonic() - started if seen.up else None
        seen.pause = 0.0
        seen.due = started + (self._refresh if backend.kind == "openai" else 0.0)

    def _tell(self) -> list[Family]:
        up = gauge(
            "openwebui_backend_up",
            "1 when Open WebUI itself reaches this model backend, 0 when not, by host:port and kind (ollama, openai). "
            f"Asked at most every {KEEP:.0f} s (ollama) or `refresh` (openai); ever less often while an Ollama hangs.",
        )
        seconds = gauge(
            "openwebui_backend_response_seconds",
            "How long the last look took, through Open WebUI to the backend and back; absent while unreachable.",
        )
        for seen in self._seen.values():
            up.add(seen.up, seen.labels)
            seconds.add(seen.seconds, seen.labels)
        return [up, seconds]


def _reached(kind: Kind, answer: Answer, path: str) -> bool:
    """Whether that answer is the backend's own. Raises CollectError when our key may not ask.

    Open WebUI passes an error status of Ollama on, so a 401 here is the backend's refusal of Open WebUI.
    """
    if answer.status == 403 and "permission to access this resource" in detail(answer):  # noqa: PLR2004
        raise refusal(answer, path)
    if answer.status != 200:  # noqa: PLR2004
        return False
    if kind == "openai" and len(answer.body) > SMALL:  # hundreds of models; that it is JSON is enough to know
        return "json" in answer.content_type
    body = content(answer)
    if kind == "ollama":
        return isinstance(body, dict) and isinstance(body.get("version"), str)
    return isinstance(body, dict | list)
