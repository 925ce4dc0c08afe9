"""What /api/show says of each model, asked once and remembered.

Only servers before 0.30 need it: later ones list capabilities in /api/tags. An answer can be megabytes (licence,
tensors), so a server with a thousand models is asked a few at a time over many scrapes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from exporter.collectors.base import Clock, Http
from exporter.collectors.ollama_answers import Installed, Shown, decode_shown
from exporter.errors import CollectError, Reason

_A_SCRAPE = 8  # models asked about at one scrape
_AT_ONCE = 4
_RETRY = 600.0  # s until a model whose answer failed is asked about again


class ShownModels:
    """Details by model; the key is the digest, so that a model pulled anew is asked about anew."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._known: dict[str, Shown] = {}
        self._failed: dict[str, float] = {}
        self._listed: dict[str, Shown] = {}

    def of(self, digest: str) -> Shown | None:
        """What is known of the model with this digest; None until it is known."""
        return self._listed.get(digest) or self._known.get(digest)

    def capabilities(self, model: Installed) -> tuple[str, ...] | None:
        """What the model can do; None while or where it is not known."""
        shown = self.of(_key(model))
        return shown.capabilities if shown else None

    def keep_only(self, models: Iterable[Installed]) -> None:
        """Take what the list says itself, and forget what is no longer in it."""
        models = list(models)
        keys = {_key(model) for model in models}
        self._listed = {_key(m): Shown(m.capabilities, None) for m in models if m.capabilities is not None}
        self._known = {key: shown for key, shown in self._known.items() if key in keys}
        self._failed = {key: when for key, when in self._failed.items() if key in keys}

    def missing(self, models: Iterable[Installed]) -> int:
        """How many local models are not described yet."""
        return sum(not model.cloud and self.of(_key(model)) is None for model in models)

    async def learn(self, models: Iterable[Installed], first: Collection[str]) -> None:
        """Ask about a few that are not known, those named in `first` before the others.

        Raises the first CollectError after all of the few have been asked.
        """
        now = self._clock()
        wanted = {
            _key(model): model
            for model in models
            if not model.cloud
            and self.of(_key(model)) is None
            and now - self._failed.get(_key(model), -_RETRY) >= _RETRY
        }
        errors: list[CollectError] = []
        few = sorted(wanted.values(), key=lambda model: model.name not in first)[:_A_SCRAPE]
        for start in range(0, len(few), _AT_ONCE):
            await asyncio.gather(*(self._ask(model, errors) for model in few[start : start + _AT_ONCE]))
        if errors:
            raise errors[0]

    async def _ask(self, model: Installed, errors: list[CollectError]) -> None:
        # Marked before the call: one that outlasts the scrape is cancelled, and must not be first in line each time.
        self._failed[_key(model)] = self._clock()
        try:
            shown = decode_shown(await self._http.json("/api/show", method="POST", json={"model": model.name}))
        except CollectError as error:
            if error.reason != Reason.NOT_FOUND:  # deleted since it was listed
                errors.append(error)
            return
        self._known[_key(model)] = shown
        self._failed.pop(_key(model), None)


def _key(model: Installed) -> str:
    return model.digest or model.name
