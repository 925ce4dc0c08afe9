"""What Ollama's HTTP API answers, decoded: version, installed models, loaded models, one model's details.

Shapes are those of api/types.go, checked against servers 0.6.5 and 0.17.4 and the source up to 0.33. A wrong outer
shape is a CollectError; a broken entry of a list is left out and counted; a missing or mistyped field is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from exporter.errors import CollectError, Reason
from exporter.families import amount

M = TypeVar("M", bound="Installed | Loaded")

FOREVER = 50 * 365 * 86400.0  # s; keep_alive -1 is shown as an expiry 292 years away, nobody asks for 50
MOST_READ = 100_000  # entries of one list
MOST_TOLD = 5_000  # models in one list that get series of their own; no honest server has as many
_MOST_CAPABILITIES = 20  # of one model; there are about seven in all
_DETAILS = {
    "family": "family",
    "format": "format",
    "parameter_size": "parameter_size",
    "quantization": "quantization_level",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A model on Ollama's disk, or a cloud model it knows."""

    name: str
    digest: str  # "" when not told
    size: float | None  # bytes
    modified: float | None  # seconds since the epoch
    details: dict[str, str]  # label to value, without the unknown ones
    cloud: bool
    capabilities: tuple[str, ...] | None  # None before Ollama 0.30


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory."""

    name: str
    digest: str  # "" when not told
    size: float | None  # bytes in all memories
    vram: float | None  # bytes of these on GPUs
    context: float | None  # tokens; not told before Ollama 0.10
    expires: float | None  # seconds since the epoch by Ollama's clock; in the past while a request runs on

    def forever(self, now: float) -> bool:
        """Whether it is kept until it is told to go."""
        return self.expires is not None and self.expires - now > FOREVER


@dataclass(frozen=True, slots=True)
class Shown:
    """What /api/show adds."""

    capabilities: tuple[str, ...] | None  # None before Ollama 0.6.4
    trained_context: float | None  # tokens


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """The models of one list by name, and how many entries had no usable name or one that was taken."""

    models: dict[str, M]
    left_out: int

    @property
    def told(self) -> dict[str, M]:
        """The models that get series of their own: all, or none of very many."""
        return self.models if len(self.models) <= MOST_TOLD else {}


def canonical(name: str) -> str:
    """A model's name as Ollama lists it: with its tag, without the default registry and owner."""
    short = name.strip().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"


def decode_version(body: object) -> str:
    """The version of /api/version."""
    version = body.get("version") if isinstance(body, dict) else None
    if not isinstance(version, str) or not version:
        raise _unexpected("/api/version has no version")
    return version


def decode_installed(body: object) -> Listing[Installed]:
    """The models of /api/tags."""
    return _listing(_installed(name, entry) for name, entry in _entries(body, "/api/tags"))


def decode_loaded(body: object) -> Listing[Loaded]:
    """The models of /api/ps."""
    return _listing(_loaded(name, entry) for name, entry in _entries(body, "/api/ps"))


def decode_shown(body: object) -> Shown:
    """The answer of /api/show."""
    if not isinstance(body, dict):
        raise _unexpected("/api/show gave no object")
    info = body.get("model_info")
    architecture = info.get("general.architecture") if isinstance(info, dict) else None
    context = info.get(f"{_text(architecture)}.context_length") if isinstance(info, dict) else None
    return Shown(_capabilities(body.get("capabilities")), amount(context))


def _entries(body: object, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    models = body.get("models") if isinstance(body, dict) else None
    # Go writes an empty list as null where nobody made one.
    if models is None and isinstance(body, dict) and "models" in body:
        models = []
    if not isinstance(models, list):
        raise _unexpected(f"{path} has no list of models")
    if len(models) > MOST_READ:
        raise CollectError(Reason.TOO_LARGE, f"{path} lists {len(models)} models; at most {MOST_READ} are read")
    for entry in models:
        fields = entry if isinstance(entry, dict) else {}
        yield _text(fields.get("name")) or _text(fields.get("model")), fields


def _installed(name: str, entry: dict[str, Any]) -> Installed:
    details = entry.get("details")
    known = details if isinstance(details, dict) else {}
    texts = {label: _text(known.get(key)) for label, key in _DETAILS.items()}
    return Installed(
        name=name,
        digest=_text(entry.get("digest")),
        size=amount(entry.get("size")),
        modified=_moment(entry.get("modified_at")),
        details={label: text for label, text in texts.items() if text and text != "unknown"},
        cloud=bool(_text(entry.get("remote_host")) or _text(entry.get("remote_model"))),
        capabilities=_capabilities(entry.get("capabilities")),
    )


def _loaded(name: str, entry: dict[str, Any]) -> Loaded:
    size = amount(entry.get("size"))
    return Loaded(
        name=name,
        digest=_text(entry.get("digest")),
        size=size,
        # Early versions left size_vram out where it was 0 (ollama/ollama#4840).
        vram=amount(entry.get("size_vram", 0 if size is not None else None)),
        context=amount(entry.get("context_length")) or None,
        expires=_moment(entry.get("expires_at")),
    )


def _listing(models: Iterator[M]) -> Listing[M]:
    listed: dict[str, M] = {}
    left_out = 0
    for model in models:
        if model.name and model.name not in listed:
            listed[model.name] = model
        else:
            left_out += 1
    return Listing(listed, left_out)


def _capabilities(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    names = dict.fromkeys(name for name in value if isinstance(name, str) and name)
    return tuple(names)[:_MOST_CAPABILITIES]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: object) -> float | None:
    """An RFC 3339 time as seconds since the epoch; Go's zero time and times without a zone are unknown."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        seconds = moment.timestamp() if moment.tzinfo is not None else 0.0
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def _unexpected(what: str) -> CollectError:
    return CollectError(Reason.SHAPE, f"{what}; is this an Ollama server?")
