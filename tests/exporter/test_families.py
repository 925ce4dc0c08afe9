"""The text of families, against prometheus-client's own encoder and parsers."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from exporter.families import LABEL_LENGTH, Family, Labels, amount, clean, counter, encode, gauge, merge, number

VALUES = st.one_of(st.floats(), st.integers(-(10**20), 10**20).map(float), st.sampled_from([1e6, 1e7, 0.0, -0.0]))
TEXTS = st.text(max_size=30)


class Oracle:
    """Gives prometheus-client families to its own encoder."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self):
        for family in self._families:
            names = list(dict(family.samples[0][0].pairs))
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=names)
            for labels, value in family.samples:
                metric.add_metric([dict(labels.pairs)[name] for name in names], value)
            yield metric


def oracle(families: list[Family], *, openmetrics: bool) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Oracle(families))
    generate = generate_openmetrics if openmetrics else generate_latest
    return generate(registry).decode()


@pytest.mark.parametrize("openmetrics", [False, True])
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS, VALUES), min_size=1, max_size=5),
    help_text=st.text(min_size=1, max_size=40).map(lambda text: clean(text) + '\\ " \n x'),
)
def test_the_text_is_what_prometheus_client_would_write(openmetrics, rows, help_text):
    families = [gauge("a_size_bytes", help_text), counter("b_seen", help_text)]
    for family in families:
        for worker, host, value in rows:
            family.add(abs(value) if family.kind == "counter" else value, Labels(worker=worker, host=host))
    ending = "# EOF\n" * openmetrics
    assert encode(families, openmetrics=openmetrics) + ending == oracle(families, openmetrics=openmetrics)


def test_extra_labels_stand_in_order_with_the_others():
    family = gauge("m", "help")
    family.add(1, Labels(worker="w", host="h"))
    text = encode([family], openmetrics=False, extra=(("target", "t"), ("system", "dask")))
    assert 'm{host="h",system="dask",target="t",worker="w"} 1.0\n' in text


def test_merging_targets_writes_each_family_once_with_its_target_on_every_sample():
    def one(value: float) -> list[Family]:
        family = gauge("m", "help")
        family.add(value, Labels(model="x"))
        family.add(value + 1)
        return [family]

    text = merge([(one(1), (("target", "a"),)), (one(5), (("target", "b"),))], openmetrics=False)
    assert text.count("# TYPE m gauge") == 1
    samples = {
        (sample.labels["target"], sample.labels.get("model")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples == {("a", "x"): 1, ("a", None): 2, ("b", "x"): 5, ("b", None): 6}


def test_an_unknown_value_is_an_absent_series_and_an_empty_family_is_not_mentioned():
    family = gauge("m", "help")
    family.add(None)
    assert encode([family], openmetrics=True) == ""


@pytest.mark.parametrize(
    "hostile", ["a\nb", "x\x00y", "\u202egnp.exe", "lone \ud800 surrogate", "m" * 65536, "\x1b[31m"]
)
def test_hostile_label_values_are_made_safe_and_stay_distinct(hostile):
    safe = clean(hostile)
    assert len(safe) <= LABEL_LENGTH
    assert safe.isprintable()
    assert safe != clean(hostile + "other")
    safe.encode()
    family = gauge("m", "help")
    family.add(1, Labels(model=hostile))
    [parsed] = text_string_to_metric_families(encode([family], openmetrics=False))
    assert parsed.samples[0].labels == {"model": safe}


@pytest.mark.parametrize(
    "harmless", ["", "llama3.1:8b", 'quo"te', "back\\slash", "<script>", "日本語", "tcp://10.0.0.5:8786"]
)
def test_harmless_label_values_are_left_alone(harmless):
    assert clean(harmless) == harmless


@pytest.mark.parametrize("value", [None, "1", True, math.nan, math.inf, [], {}, 10**400])
def test_what_is_not_a_finite_number_is_unknown(value):
    assert number(value) is None


def test_numbers_are_numbers():
    assert number(3) == 3.0
    assert number(-0.5) == -0.5


@pytest.mark.parametrize(("value", "expected"), [(0, 0.0), (0.5, 0.5), (7, 7.0), (10**30, 1e30)])
def test_amounts_are_numbers_of_at_least_zero(value, expected):
    assert amount(value) == expected


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf, 10**400, "7", None, True, [1]])
def test_what_is_no_amount_is_unknown(value):
    assert amount(value) is None


@pytest.mark.parametrize("end", ["", "\x7f"])
def test_a_value_of_megabytes_is_cut_without_reading_it_all(end: str) -> None:
    """All of it took seconds for each label that held it."""
    began = time.process_time()
    values = [clean("\x7f" * 10_000_000 + end), clean("x" * 10_000_000 + end), clean("x" * 10_000_001 + end)]
    assert time.process_time() - began < 0.1
    assert len(set(values)) == len(values)
    assert all(len(value) <= LABEL_LENGTH for value in values)
