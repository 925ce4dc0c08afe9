from __future__ import annotations

import re

import pytest

from alert_rules.thresholds import defaults, in_force


def test_the_defaults_are_numbers_by_names_that_cluster_ai_yml_takes():
    assert defaults()["dask_worker_memory_ratio"] == 0.8
    assert not [name for name in defaults() if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]


def test_an_installation_replaces_what_it_names_and_keeps_the_rest():
    numbers = in_force({"dask_worker_memory_ratio": 0.6})
    assert numbers["dask_worker_memory_ratio"] == 0.6
    assert {name: value for name, value in numbers.items() if value != defaults()[name]} == {
        "dask_worker_memory_ratio": 0.6
    }


def test_a_name_that_no_default_has_changes_nothing():
    assert in_force({"no_such_number": 1.0}) == defaults()


@pytest.mark.parametrize("name", [name for name in defaults() if name.endswith("_critical")])
def test_a_critical_number_has_a_warning_before_it(name):
    assert defaults()[name.removesuffix("_critical")] < defaults()[name]


@pytest.mark.parametrize("name", [name for name in defaults() if "_ratio" in name])
def test_ratios_are_shares(name):
    assert 0 < defaults()[name] <= 1


def test_nobody_can_change_the_defaults_in_place():
    with pytest.raises(TypeError):
        defaults()["dask_worker_memory_ratio"] = 1.0  # type: ignore[index]
