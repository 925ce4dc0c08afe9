"""Ollama: version, installed and loaded models, and an optional one-token generation probe.

Calls: GET /api/version, /api/tags and /api/ps at every scrape; POST /api/show once a model's weights on servers that do
not list capabilities (before 0.30), a few a scrape; GET /metrics every five minutes, to see whether Ollama grew one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from exporter.apart import fairly, in_turns
from exporter.collectors.base import Clock, Collector, Http, NativeEndpoint, Outcome, Part, Wires, once
from exporter.collectors.ollama_answers import (
    Installed,
    Listing,
    Loaded,
    M,
    canonical,
    decode_installed,
    decode_loaded,
    decode_version,
)
from exporter.collectors.ollama_loads import LoadCounts
from exporter.collectors.ollama_probe import Probes
from exporter.collectors.ollama_shown import ShownModels
from exporter.errors import REFUSALS
from exporter.families import Family, Labels, gauge
from provisioning.config.hosts import HostNames
from provisioning.config.targets import OllamaTarget, System

_NATIVE_KEPT = 300.0  # s
_SERIES = 5  # about, of a model in either list, its two counters included
_OK = 200


class OllamaCollector(Collector):
    """One Ollama server."""

    system: ClassVar[System] = "ollama"
    prefix: ClassVar[str] = "ollama"
    part_names: ClassVar[tuple[str, ...]] = ("version", "installed", "loaded", "capabilities", "native")

    def __init__(self, target: OllamaTarget, http: Http, clock: Clock) -> None:
        self._target = target
        self._http = http
        self._clock = clock
        # Ollama takes names in any case.
        self._required = {name.casefold(): Labels(model=name) for name in map(canonical, target.must_be_loaded)}
        self._counts = LoadCounts()
        self._shown = ShownModels(http, clock)
        self._probes = Probes(http, target.generation_probe, clock, self._shown) if self._probing else None
        self._native = False

    @classmethod
    def build(cls, target: OllamaTarget, wires: Wires, hosts: HostNames, clock: Clock) -> OllamaCollector:  # noqa: ARG003
        """A collector for a configured server."""
        return cls(target, wires.http(target), clock)

    def parts(self) -> Mapping[str, Part]:
        """One look: three cheap calls, and now and then one of the others."""
        self.withheld = 0
        tags = once(self._ask_tags)
        processes = once(self._ask_processes)
        return {
            "version": Part(self._version),
            "installed": Part(lambda: self._installed(tags)),
            "loaded": Part(lambda: self._loaded(processes)),
            "capabilities": Part(lambda: self._capabilities(tags, processes)),
            "native": Part(self._look_for_native, keep=_NATIVE_KEPT),
        }

    def standing(self) -> list[Family]:
        """Counters."""
        return [*self._counts.families(), *(self._probes.counters() if self._probes else ())]

    def is_up(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether the API answered as Ollama's; some other server's /metrics does not count."""
        own = (outcomes[name] for name in ("version", "installed", "loaded") if name in outcomes)
        return any(outcome.error is None or outcome.error.reason in REFUSALS for outcome in own)

    def native_endpoints(self) -> list[NativeEndpoint]:
        """Ollama's own /metrics, for the versions that will have one (ollama/ollama#3144)."""
        if not self._native:
            return []
        url = urlsplit(self._target.url)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        port = url.port or (443 if url.scheme == "https" else 80)
        return [NativeEndpoint(f"{host}:{port}", scheme=url.scheme, path=f"{url.path}/metrics")]

    async def close(self) -> None:
        """Stop the probes that are under way."""
        if self._probes:
            await self._probes.close()

    @property
    def _probing(self) -> bool:
        return self._target.generation_probe.enabled

    async def _ask_tags(self) -> Listing[Installed]:
        listing = await fairly(decode_installed, await self._http.json("/api/tags"))
        self._counts.saw_installed(listing.told)
        self._shown.keep_only(listing.told.values())
        return self._counted(listing)

    async def _ask_processes(self) -> Listing[Loaded]:
        listing = await fairly(decode_loaded, await self._http.json("/api/ps"))
        if listing.told or not listing.models:
            self._counts.saw_loaded(listing.models)
        else:
            self._counts.lost_sight()
        return self._counted(listing)

    def _counted(self, listing: Listing[M]) -> Listing[M]:
        """The listing, with what it has and does not tell booked as left out."""
        self.withheld += _SERIES * (len(listing.models) - len(listing.told))
        return listing

    async def _version(self) -> list[Family]:
        info = gauge("ollama_info", "Always 1; the version Ollama says it is (0.0.0 when built without one).")
        info.add(1, Labels(version=decode_version(await self._http.json("/api/version"))))
        return [info]

    async def _installed(self, tags: Callable[[], Awaitable[Listing[Installed]]]) -> list[Family]:
        listing = await tags()
        count = gauge(
            "ollama_models_installed", "Models in Ollama's list: on its disk (local), or run elsewhere (cloud)."
        )
        for location in ("local", "cloud"):
            count.add(sum(_location(m) == location for m in listing.models.values()), Labels(location=location))
        info = gauge("ollama_model_info", "Always 1; what the model is. Labels that Ollama does not know are left out.")
        size = gauge("ollama_model_size_bytes", "Size of the model's files (of a cloud model, of its description).")
        modified = gauge("ollama_model_modified_timestamp_seconds", "When the model was last pulled or created.")
        capability = gauge(
            "ollama_model_capability",
            "Always 1; something the model can do (completion, embedding, vision, tools). "
            "Before Ollama 0.30 each model is asked about once, a few a scrape.",
        )
        async for model in in_turns(listing.told.values()):
            labels = self._counts.labels(model.name)
            info.add(1, Labels(model=model.name, location=_location(model), **model.details))
            size.add(model.size, labels)
            modified.add(model.modified, labels)
            for name in self._shown.capabilities(model) or ():
                capability.add(1, Labels(model=model.name, capability=name))
        return [count, info, size, modified, capability, _left_out("installed", listing.left_out)]

    async def _loaded(self, processes: Callable[[], Awaitable[Listing[Loaded]]]) -> list[Family]:
        listing = await processes()
        now = self._clock()
        count = gauge("ollama_models_loaded", "Models in memory.")
        count.add(len(listing.models))
        size = gauge("ollama_loaded_model_size_bytes", "Memory the loaded model takes, on GPUs and CPU together.")
        vram = gauge("ollama_loaded_model_vram_bytes", "GPU memory the loaded model takes.")
        cpu = gauge(
            "ollama_loaded_model_cpu_bytes",
            "Part of the loaded model that did not fit on GPUs and runs from main memory, which is slow.",
        )
        context = gauge(
            "ollama_loaded_model_context_tokens", "Context the model was loaded with. Not told before Ollama 0.10."
        )
        forever = gauge("ollama_loaded_model_kept_forever", "1 when the model stays until it is told to go, else 0.")
        expires = gauge(
            "ollama_loaded_model_expires_timestamp_seconds",
            "When the model will be unloaded if nobody uses it; passed while a request runs on. "
            "Left out when kept for ever.",
        )
        async for model in in_turns(listing.told.values()):
            labels = self._counts.labels(model.name)
            size.add(model.size, labels)
            vram.add(model.vram, labels)
            if model.size is not None and model.vram is not None:
                cpu.add(max(model.size - model.vram, 0), labels)
            context.add(model.context, labels)
            if model.expires is not None:
                forever.add(model.forever(now), labels)
                expires.add(None if model.forever(now) else model.expires, labels)
        required = gauge(
            "ollama_model_required_loaded",
            "For each model under must_be_loaded in cluster-ai.yml: 1 when it is in memory, 0 when not.",
        )
        present = {canonical(name).casefold() for name in listing.models} if self._required else set()
        for name, labels in self._required.items():
            required.add(name in present, labels)
        families = [count, size, vram, cpu, context, forever, expires, required]
        families.append(_left_out("loaded", listing.left_out))
        if self._probes:
            self._probes.look(listing.told)
            families += self._probes.families(self._counts.labels)
        return families

    async def _capabilities(
        self,
        tags: Callable[[], Awaitable[Listing[Installed]]],
        processes: Callable[[], Awaitable[Listing[Loaded]]],
    ) -> list[Family]:
        # One after the other, both being asked already: `gather` ends at the first error and leaves the other waiting.
        installed, loaded = await tags(), await processes()
        if len(installed.told) < len(installed.models):
            return []
        await self._shown.learn(installed.told.values(), first=loaded.told)
        unknown = gauge(
            "ollama_models_not_described",
            "Installed models whose capabilities have not been learned yet; falls scrape by scrape after a start.",
        )
        unknown.add(self._shown.missing(installed.told.values()))
        return [unknown]

    async def _look_for_native(self) -> list[Family]:
        answer = await self._http.ask("/metrics")
        text = answer.content_type in ("text/plain", "application/openmetrics-text")
        self._native = answer.status == _OK and text and b"\nollama_" in b"\n" + answer.body
        native = gauge(
            "ollama_native_metrics",
            "1 when Ollama has a /metrics of its own, which Prometheus then scrapes from /sd?kind=native, else 0. "
            "Asked every five minutes.",
        )
        native.add(self._native)
        return [native]


def _location(model: Installed) -> str:
    return "cloud" if model.cloud else "local"


def _left_out(which: str, count: int) -> Family:
    family = gauge(
        f"ollama_{which}_models_left_out",
        f"Entries of Ollama's list of {which} models without a usable name, or with the name of another entry; "
        "they have no series.",
    )
    family.add(count)
    return family


COLLECTOR = OllamaCollector
