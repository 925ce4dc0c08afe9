"""Which alerts fit: conditions on labels, as Alertmanager matches them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioning.config.notifications import Which

Labels = Mapping[str, str]
_LABELS = {"severities": "severity", "systems": "system", "targets": "target", "hosts": "host", "alerts": "alertname"}
_MATCHER = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(=~|!~|!=|=)("(?:[^"\\]|\\.)*")', re.DOTALL)


def equals(label: str, value: str) -> str:
    """A condition that Alertmanager 0.25 and today's release read alike: the value in quotes, escaped."""
    return f"{label}={_quoted(value)}"


def differs(label: str, value: str = "") -> str:
    """The label has another value; without one, it is there."""
    return f"{label}!={_quoted(value)}"


def one_of(label: str, values: Sequence[str]) -> str:
    """The label has one of these values, whatever signs they hold."""
    if len(values) == 1:
        return equals(label, values[0])
    return f"{label}=~{_quoted('|'.join(_escaped(value) for value in values))}"


def _escaped(value: str) -> str:
    """A regular expression of Go's that matches the text itself."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def matches(matchers: Sequence[str], labels: Labels) -> bool:
    """Whether labels fit all conditions, each written as above."""
    return all(_fits(matcher, labels) for matcher in matchers)


def _fits(matcher: str, labels: Labels) -> bool:
    found = _MATCHER.fullmatch(matcher)
    if found is None:
        raise ValueError(f"not a matcher: {matcher}")
    label, sign, quoted = found.groups()
    value, wanted = labels.get(label, ""), json.loads(quoted)
    same = value == wanted if sign in ("=", "!=") else re.fullmatch(wanted, value, re.DOTALL) is not None
    return same == (not sign.startswith("!"))


@dataclass(frozen=True, slots=True)
class Condition:
    """For some labels, the values that fit; a label that is not named may have any."""

    values: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, which: Which) -> Condition:
        """The condition that a route or mute states."""
        found = {label: frozenset(getattr(which, key)) for key, label in _LABELS.items() if getattr(which, key)}
        return cls(found)

    def matchers(self) -> list[str]:
        """The condition as Alertmanager reads it."""
        return [one_of(label, sorted(values)) for label, values in self.values.items()]

    def contradicts(self, other: Condition) -> bool:
        """Whether no alert fits both."""
        return any(values.isdisjoint(other.values.get(label, values)) for label, values in self.values.items())

    def follows_from(self, other: Condition) -> bool:
        """Whether every alert that fits the other fits this one."""
        return all(label in other.values and other.values[label] <= values for label, values in self.values.items())

    def and_(self, other: Condition) -> Condition:
        """What fits both; the two must not contradict."""
        both = dict(other.values)
        for label, values in self.values.items():
            both[label] = values & both.get(label, values)
        return Condition(both)
