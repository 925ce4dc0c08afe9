"""Sharding: every name has exactly one owner, shares are fair, and growing moves little."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.shard import Shard, owner

NAMES = [f"gpu-{number}" for number in range(200)]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=63), max_size=20), st.integers(1, 30))
def test_every_name_belongs_to_exactly_one_shard(names, count):
    shards = [Shard(index, count) for index in range(1, count + 1)]
    for name in names:
        assert sum(shard.owns(name) for shard in shards) == 1


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_shares_of_200_targets_are_within_reason(count):
    sizes = [sum(owner(name, count) == shard for name in NAMES) for shard in range(1, count + 1)]
    fair = len(NAMES) / count
    assert min(sizes) > fair - 4 * fair**0.5
    assert max(sizes) < fair + 4 * fair**0.5


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_another_shard_takes_its_share_and_moves_nothing_else(count):
    moved = [name for name in NAMES if owner(name, count) != owner(name, count + 1)]
    assert {owner(name, count + 1) for name in moved} == {count + 1}
    fair = len(NAMES) / (count + 1)
    assert abs(len(moved) - fair) < 4 * fair**0.5


def test_the_owner_is_the_same_in_every_process_and_version():
    """Exporters are updated one by one: these values must never change."""
    assert [owner(name, 5) for name in ("main", "gpu-1", "chat", "laboratório")] == [4, 5, 3, 2]
    code = "from exporter.shard import owner; print([owner(f'gpu-{n}', 7) for n in range(50)])"
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == str([owner(f"gpu-{n}", 7) for n in range(50)])


def test_a_shard_is_written_k_of_n():
    assert Shard.parse("2/5") == Shard(2, 5)
    assert str(Shard(2, 5)) == "2/5"


@pytest.mark.parametrize(
    "text", ["", "2", "0/5", "6/5", "-1/5", "a/b", "1/0", "1/1001", "2/5/7", "1 / 2", "\u0661/\u0662"]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="write K/N"):
        Shard.parse(text)
