"""Which alerts are not told because another one says why: the root cause, or the graver of two about one thing.

An inhibited alert still shows on the pages. Two labels that are both missing count as equal in Alertmanager, so every
label by which two alerts belong together must be there on the one that hides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from alert_rules.routing.matching import differs, equals, none_of, one_of
from alert_rules.routing.names import TEST
from provisioning.config.hosts import HostNames
from provisioning.config.model import Config
from provisioning.config.targets import SYSTEMS

_IDENTITY = ("alertname", "cluster", "system", "target", "host", "worker", "model", "backend", "job", "instance")


@dataclass(frozen=True, slots=True)
class Cause:
    """An alert whose fault brings others about."""

    alert: str
    same: tuple[str, ...]
    """Labels that its consequences share with it."""
    systems: tuple[str, ...] = ()
    """The systems of its consequences; none given: all."""
    alerts: tuple[str, ...] = ()
    """Its consequences by name; none given: all of those systems."""


CAUSES = (
    # A system that does not answer brings about all else that ails it.
    Cause("DaskSchedulerDown", same=("target",), systems=("dask",)),
    Cause("OllamaDown", same=("target",), systems=("ollama",)),
    Cause("OpenWebUIDown", same=("target",), systems=("openwebui",)),
    # A machine that is gone takes everything on it along.
    Cause("HostDown", same=("host",)),
)


def inhibitions(config: Config) -> list[dict[str, Any]]:
    """Alertmanager's inhibit_rules."""
    return [*_graver(), *(_rule(cause) for cause in CAUSES), *_machines(config)]


def _graver() -> Iterator[dict[str, Any]]:
    """Of one alert at two severities, the graver is told."""
    for graver, lesser in (("critical", ("warning", "info")), ("warning", ("info",))):
        yield {
            "source_matchers": [equals("severity", graver), differs("alertname"), equals(TEST, "")],
            "target_matchers": [one_of("severity", lesser), equals(TEST, "")],
            "equal": list(_IDENTITY),
        }


def _rule(cause: Cause) -> dict[str, Any]:
    """A test must neither hide what is real nor be hidden by it."""
    consequences = [one_of("alertname", cause.alerts)] if cause.alerts else [differs("alertname", cause.alert)]
    return {
        "source_matchers": [
            equals("alertname", cause.alert),
            *(differs(label) for label in cause.same),
            equals(TEST, ""),
        ],
        "target_matchers": [
            *([one_of("system", cause.systems)] if cause.systems else []),
            *consequences,
            equals(TEST, ""),
        ],
        "equal": ["cluster", *cause.same],
    }


def _machines(config: Config) -> Iterator[dict[str, Any]]:
    """Targets on a machine, for their alerts that carry no `host`."""
    names = HostNames.of(config)
    on: dict[str, list[str]] = {host.name: [] for host in config.targets.hosts}
    for system in SYSTEMS:
        for target in getattr(config.targets, system):
            address = urlsplit(target.scheduler if system == "dask" else target.url).hostname or ""
            on.get(names.name_of(address), []).append(target.name)
    for host, targets in on.items():
        if targets:
            yield {
                "source_matchers": [equals("alertname", "HostDown"), equals("host", host), equals(TEST, "")],
                "target_matchers": [
                    one_of("target", targets),
                    equals("host", ""),
                    none_of("alertname", ["HostDown"]),
                    equals(TEST, ""),
                ],
                "equal": ["cluster"],
            }
