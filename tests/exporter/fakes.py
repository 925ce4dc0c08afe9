"""A collector whose parts a test scripts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from exporter.collectors.base import Collector, NativeEndpoint, Part
from exporter.families import Family, Labels, counter, gauge
from provisioning.config.targets import OllamaTarget


def families(name: str, count: int = 1) -> list[Family]:
    family = gauge(f"ollama_{name}", "Fake.")
    for index in range(count):
        family.add(index, Labels(model=str(index)))
    return [family]


class FakeCollector(Collector):
    system: ClassVar = "ollama"
    prefix: ClassVar = "ollama"
    part_names: ClassVar = ("version",)

    def __init__(self, **parts: Part | Callable[[], Awaitable[list[Family]]]) -> None:
        self.script = parts
        self.endpoints: list[NativeEndpoint] = []

    @classmethod
    def build(cls, target: Any, wires: Any, hosts: Any, clock: Any) -> FakeCollector:
        return cls()

    def parts(self) -> Mapping[str, Part]:
        return {name: part if isinstance(part, Part) else Part(part) for name, part in self.script.items()}

    def standing(self) -> list[Family]:
        family = counter("ollama_loads", "Fake.")
        family.add(0)
        return [family]

    def native_endpoints(self) -> list[NativeEndpoint]:
        return self.endpoints


def target(name: str = "gpu", timeout: str = "5s", **more: Any) -> OllamaTarget:
    return OllamaTarget(name=name, url="http://127.0.0.1:11434", timeout=timeout, **more)


def values(collected: list[Family]) -> dict[str, float]:
    """`name{labels}` to value."""
    return {f"{family.name}{labels.text()}": value for family in collected for labels, value in family.samples}
