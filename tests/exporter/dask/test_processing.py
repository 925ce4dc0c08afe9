"""Ages of tasks: the finer points, without a collector around."""

from __future__ import annotations

import itertools
import time

import pytest

from exporter.collectors.dask_processing import ProcessingAges

WORKER = "tcp://10.0.0.9:1"


def test_a_look_changes_nothing_until_it_is_kept() -> None:
    """A look may be worked on beside the event loop for somebody who gives up meanwhile."""
    ages = ProcessingAges()
    ages.keep(ages.look({WORKER: ("a",)}, 10.0))
    ages.look({WORKER: ("a", "b")}, 20.0)
    assert ages.look({WORKER: ("a", "b")}, 30.0) == {WORKER: {"a": 10.0, "b": 30.0}}


def test_keys_are_told_apart_by_what_they_are() -> None:
    keys = ("a", ("a", 0), ("a", 1), b"a", 1, 1.5, None, {"a": 1}, ["a"])
    assert len(ProcessingAges().look({WORKER: keys}, 1.0)[WORKER]) == 6


@pytest.mark.timeout(10)
def test_keys_that_all_have_the_same_hash_take_no_longer() -> None:
    prime = 2**61 - 1  # hash(number) is its remainder
    steps = [[part + prime * more for more in range(4)] for part in range(1, 11)]
    keys = list(itertools.islice(itertools.product(*steps), 100_000))
    assert len({hash(key) for key in keys[:100]}) == 1
    assert len(ProcessingAges().look({WORKER: keys}, 1.0)[WORKER]) == len(keys)


def test_a_key_of_a_thousand_levels_is_none() -> None:
    key: tuple[object, ...] = ()
    for _ in range(100_000):
        key = (key,)
    assert ProcessingAges().look({WORKER: [key, "a"]}, 1.0) == {WORKER: {"a": 1.0}}


def test_a_key_of_millions_of_parts_is_no_key() -> None:
    """Writing it down took seconds of the event loop, and the text was kept."""
    parts = tuple(range(200_000))
    nested: object = ()
    for _ in range(5_000):
        nested = (nested, 1)
    began = time.process_time()
    seen = ProcessingAges().look(
        {"tcp://a:1": [("x", 0), parts, (parts, 1), ("x", ("y" * 10_000_000,)), nested, ({"a": 1},)]}, 1.0
    )
    assert time.process_time() - began < 0.1
    assert seen == {"tcp://a:1": {"('x', 0)": 1.0}}
