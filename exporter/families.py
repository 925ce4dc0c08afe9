"""Metric families and their text: our own rows, byte for byte what prometheus-client would write.

prometheus-client builds an object and a dictionary for every sample, which takes about ten times as long as
joining strings; a cluster of a thousand workers has tens of thousands of samples every five seconds.
Tests compare the output with prometheus-client's own encoder.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client.utils import floatToGoString

Kind = Literal["gauge", "counter"]
_go_number: Callable[[float], str] = floatToGoString
LABEL_LENGTH = 200
_LONGEST = 8 << 10  # characters of a value that are read
_SAME_AS_GO = 1e6
_NUMBERS = (int, float)
_EXACT = 2**53  # integers below it are floats without loss
# C0 and C1 controls, lone surrogates, line and paragraph separators, and the bidirectional overrides that reorder
# text on a page.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(value: str) -> str:
    """A label value from outside, made safe: no controls, at most LABEL_LENGTH characters.

    A value that had to be changed gets a short hash of the original, so that two different ones stay different. Of one
    of megabytes, only both ends are looked at: all of it would take seconds, and no honest name is as long.
    """
    if len(value) > _LONGEST:
        value = f"{value[: _LONGEST // 2]}{value[-(_LONGEST // 2) :]}{len(value)}"
    safe = _UNSAFE.sub("", value)
    if safe == value and len(value) <= LABEL_LENGTH:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe[: LABEL_LENGTH - 9]}~{digest}"


class Labels:
    """The labels of one thing (a worker, a model), cleaned once and shared by all its samples.

    Their text is made once too: whoever keeps them from one collection to the next (workers, models) saves more than
    half of what writing the samples costs.
    """

    __slots__ = ("kept", "pairs")

    def __init__(self, **pairs: str) -> None:
        self.pairs = tuple((name, clean(value)) for name, value in pairs.items())
        self.kept: str | None = None  # the text, once it was asked for

    def text(self, extra: tuple[tuple[str, str], ...] = ()) -> str:
        """`{name="value",...}` with names in order, or the empty string; equal for equal labels."""
        if extra:
            return _text((*self.pairs, *extra))
        if self.kept is None:
            self.kept = _text(self.pairs)
        return self.kept

    def __repr__(self) -> str:
        return f"Labels{self.text()}"


def _text(pairs: tuple[tuple[str, str], ...]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join([f'{name}="{_escape(value)}"' for name, value in sorted(pairs)]) + "}"


NO_LABELS = Labels()


@dataclass(slots=True)
class Family:
    """One metric: its name (counters without `_total`), kind, help, and a value for each set of labels."""

    name: str
    kind: Kind
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)

    def add(self, value: float | None, labels: Labels = NO_LABELS) -> None:
        """Add a sample; None, an unknown value, adds nothing."""
        if value is not None:
            self.samples.append((labels, value))


def gauge(name: str, help: str) -> Family:
    """A family of values that go up and down."""
    return Family(name, "gauge", help)


def counter(name: str, help: str) -> Family:
    """A family of values that only grow; `name` ends without `_total`, which the text adds."""
    return Family(name, "counter", help)


def number(value: object) -> float | None:
    """`value` as a finite float, None when it is not a number: upstreams send null, strings and NaN."""
    if type(value) is float:  # the usual one; a large cluster asks this 25,000 times a scrape
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def amount(value: object) -> float | None:
    """`value` as a finite float of at least zero (bytes, seconds, a count), None when it is anything else."""
    if type(value) is float:
        return value if 0.0 <= value < math.inf else None
    if type(value) is int and 0 <= value < _EXACT:
        return float(value)
    found = number(value)
    return found if found is not None and found >= 0 else None


def encode(families: Iterable[Family], *, openmetrics: bool, extra: tuple[tuple[str, str], ...] = ()) -> str:
    """The families as text format 0.0.4 or OpenMetrics 1.0 without its closing `# EOF`.

    `extra` labels are added to every sample. Families without samples are left out.
    """
    lines: list[str] = []
    texts: dict[int, str] = {}  # with `extra`, which the labels themselves do not keep
    for family in families:
        if not family.samples:
            continue
        sample_name = f"{family.name}_total" if family.kind == "counter" else family.name
        meta_name = family.name if openmetrics else sample_name
        lines.append(
            f"# HELP {meta_name} {_escape_help(family.help, quotes=openmetrics)}\n# TYPE {meta_name} {family.kind}\n"
        )
        if extra:
            lines += [f"{sample_name}{_with(labels, extra, texts)} {_go(value)}\n" for labels, value in family.samples]
        else:
            # Two calls less for each of thousands of samples: what `text` and `_go` would give.
            lines += [
                f"{sample_name}{labels.kept or labels.text()} "
                f"{repr(value) if type(value) is float and 0.0 <= value < _SAME_AS_GO else _go(value)}\n"
                for labels, value in family.samples
            ]
    return "".join(lines)


def _with(labels: Labels, extra: tuple[tuple[str, str], ...], texts: dict[int, str]) -> str:
    text = texts.get(id(labels))
    if text is None:
        text = texts[id(labels)] = labels.text(extra)
    return text


def _go(value: float) -> str:
    """The number as Go writes it, which differs from Python from a million on, and for infinities and NaN."""
    amount = float(value)
    return repr(amount) if 0.0 <= amount < _SAME_AS_GO else _go_number(amount)


def merge(groups: Iterable[tuple[Iterable[Family], tuple[tuple[str, str], ...]]], *, openmetrics: bool) -> str:
    """Several targets' families as one text: one family a name, each sample with its group's extra labels."""
    merged: dict[str, Family] = {}
    for families, extra in groups:
        relabelled: dict[int, Labels] = {}
        for family in families:
            whole = merged.setdefault(family.name, Family(family.name, family.kind, family.help))
            for labels, value in family.samples:
                known = relabelled.get(id(labels))
                if known is None:
                    known = relabelled[id(labels)] = Labels()
                    known.pairs = (*labels.pairs, *extra)
                whole.samples.append((known, value))
    return encode(merged.values(), openmetrics=openmetrics)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escape_help(text: str, *, quotes: bool) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quotes else escaped
