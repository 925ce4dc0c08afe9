"""Loads and unloads of models, counted from what changed between two looks at Ollama's lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.collectors.ollama_answers import Loaded
from exporter.families import Family, Labels, counter

_MISSED = "A load and unload that both fall between two looks is missed; the count goes with a deleted model."


class LoadCounts:
    """Counters of every model that is installed or loaded, at 0 from first sight; what came before is not replayed."""

    def __init__(self) -> None:
        self._installed: frozenset[str] = frozenset()
        self._loaded: Mapping[str, Loaded] | None = None
        self._loads: dict[str, int] = {}
        self._unloads: dict[str, int] = {}
        self._labels: dict[str, Labels] = {}

    def labels(self, name: str) -> Labels:
        """The labels of a known model, the same object each time."""
        labels = self._labels.get(name)
        if labels is None:
            labels = self._labels[name] = Labels(model=name)
        return labels

    def saw_installed(self, names: Iterable[str]) -> None:
        """The complete list of installed models, as of now."""
        self._installed = frozenset(names)
        self._settle()

    def saw_loaded(self, now: Mapping[str, Loaded]) -> None:
        """The complete list of loaded models, as of now."""
        before, self._loaded = self._loaded, now
        self._settle()
        if before is None:
            return
        for name in self._loads.keys() & (before.keys() | now.keys()):
            then, present = before.get(name), now.get(name)
            changed = then is None or present is None or _reloaded(then, present)
            self._loads[name] += changed and present is not None
            self._unloads[name] += changed and then is not None

    def lost_sight(self) -> None:
        """Forget what was loaded: what changes until the next complete list cannot be told."""
        self._loaded = None
        self._settle()

    def families(self) -> list[Family]:
        """Both counters."""
        loads = counter("ollama_model_loads", f"Times the model came into memory, seen from look to look. {_MISSED}")
        unloads = counter("ollama_model_unloads", f"Times the model left memory, seen from look to look. {_MISSED}")
        for name in self._loads:
            loads.add(self._loads[name], self.labels(name))
            unloads.add(self._unloads[name], self.labels(name))
        return [loads, unloads]

    def _settle(self) -> None:
        """Start what is new at 0 and forget what is gone, so that names never pile up."""
        known = self._installed | (self._loaded or {}).keys()
        for name in sorted(known - self._loads.keys()):
            self._loads[name] = self._unloads[name] = 0
        for name in self._loads.keys() - known:
            del self._loads[name], self._unloads[name]
        for name in self._labels.keys() - known:
            del self._labels[name]


def _reloaded(then: Loaded, now: Loaded) -> bool:
    """Whether a model loaded at both looks must have been loaded anew: other weights, or another context size.

    A reload of the same model in the same shape leaves no trace here: any request moves the expiry.
    """
    other_weights = then.digest != now.digest and bool(then.digest and now.digest)
    other_context = None not in (then.context, now.context) and then.context != now.context
    return other_weights or other_context
